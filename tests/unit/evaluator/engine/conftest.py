"""One tiny base model, its adapters and its engines for all tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sidestep.evaluator.engine.transformers_engine import TransformersEngine, create
from sidestep.evaluator.settings import EngineSettings
from tests.fakes.adapters import ADAPTERS, save_adapter
from tests.fakes.tiny_model import build_tiny_model


@pytest.fixture(scope="session")
def base_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return build_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def adapters(base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("adapters")
    return {kind: save_adapter(base_model, root / kind, kind) for kind in ADAPTERS}


@pytest.fixture(scope="session", params=["float32", "bfloat16"])
def engine(request: pytest.FixtureRequest, base_model: Path) -> TransformersEngine:
    return create(EngineSettings(str(base_model), device="cpu", dtype=request.param))


@pytest.fixture(scope="session")
def engine32(base_model: Path) -> TransformersEngine:
    return create(EngineSettings(str(base_model), device="cpu", dtype="float32"))
