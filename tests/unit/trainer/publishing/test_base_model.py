"""Which base model an evaluator is given: the one that the training loaded, unless somebody says another."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from sidestep.shared.errors import BaseModelError
from sidestep.trainer.publishing.base_model import base_model_of


def test_the_base_model_is_what_the_training_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SIDESTEP_BASE_MODEL", raising=False)
    for name in ("loaded", "adapted", "given"):
        (tmp_path / name).mkdir()
    loaded = SimpleNamespace(config=SimpleNamespace(_name_or_path=str(tmp_path / "loaded")))
    assert base_model_of(loaded, None) == str(tmp_path / "loaded")
    loaded.peft_config = {"default": SimpleNamespace(base_model_name_or_path=str(tmp_path / "adapted"))}
    assert base_model_of(loaded, None) == str(tmp_path / "adapted")
    assert base_model_of(loaded, tmp_path / "given") == str(tmp_path / "given")
    with pytest.raises(BaseModelError, match="does not say which base model"):
        base_model_of(SimpleNamespace(), None)
    with pytest.raises(BaseModelError, match="neither a folder nor in the hub's local cache"):
        base_model_of(SimpleNamespace(), "nobody/nothing")
