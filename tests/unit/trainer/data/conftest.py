from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from sidestep.trainer.config.fields import TrainingConfig
from sidestep.trainer.config.reading import from_host


@pytest.fixture
def config(host_config: Callable[..., dict[str, Any]]) -> TrainingConfig:
    return from_host(host_config())


@pytest.fixture(autouse=True)
def _logs_reach_caplog(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("sidestep"), "propagate", True)
