"""What PublishCheckpoint does about an evaluator when training begins, and what it refuses before."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from transformers import TrainerControl, TrainerState

from sidestep.shared.errors import ConfigError
from sidestep.trainer.publishing.launch import LaunchOptions
from sidestep.trainer.publishing.publisher import PublishCheckpoint


def test_test_cases_are_wanted_before_training_begins(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.json is not a file"):
        PublishCheckpoint(suite=tmp_path / "none.json", launch=True)
    with pytest.raises(ConfigError, match="is not a file"):
        PublishCheckpoint(launch=True)


def test_an_interpreter_that_cannot_run_it_is_refused_before_training(tmp_path: Path) -> None:
    (tmp_path / "suite.json").write_text("{}")
    elsewhere = LaunchOptions(python=tmp_path / "bin" / "python")
    with pytest.raises(ConfigError, match=r"bin/python is not a program that can be run"):
        PublishCheckpoint(suite=tmp_path / "suite.json", launch=True, evaluator=elsewhere)
    PublishCheckpoint(suite=tmp_path / "suite.json", evaluator=elsewhere)  # nobody would start it


def test_only_the_first_rank_looks_at_the_interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "suite.json").write_text("{}")
    monkeypatch.setenv("RANK", "1")
    PublishCheckpoint(suite=tmp_path / "suite.json", launch=True, evaluator=LaunchOptions(python="no-such-python"))


def _begin(publisher: PublishCheckpoint, output_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    arguments: Any = SimpleNamespace(output_dir=str(output_dir), use_cpu=True, device="cpu")
    with caplog.at_level("INFO"):
        publisher.on_train_begin(arguments, TrainerState(), TrainerControl(), model=SimpleNamespace())


def test_published_only_says_how_to_evaluate(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "suite.json").write_text("{}")
    publisher = PublishCheckpoint(suite=tmp_path / "suite.json")
    _begin(publisher, tmp_path / "out", caplog)
    assert f"sidestep-evaluator watch {tmp_path / 'out'} --suite {tmp_path / 'suite.json'}" in caplog.text
    assert publisher.evaluator is None


def test_an_evaluator_that_cannot_start_is_said_and_no_more(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "suite.json").write_text("{}")
    publisher = PublishCheckpoint(suite=tmp_path / "suite.json", launch=True)
    _begin(publisher, tmp_path / "out", caplog)
    assert "the evaluator is not started" in caplog.text
    assert "training goes on and publishes its checkpoints" in caplog.text
