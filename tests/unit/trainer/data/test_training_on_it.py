"""Whole trainings on data of each kind: what was loaded is what is trained on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pytest

from sidestep.trainer.config.building import with_overrides
from sidestep.trainer.config.fields import TrainingConfig
from sidestep.trainer.trainer import train
from tests.unit.trainer.conftest import ROWS, write_rows


def loss_of(config: TrainingConfig, folder: Path, **changes: Any) -> tuple[int, float]:
    """Steps and mean loss of a training that learns nothing."""
    changed = with_overrides(config, {"output_dir": folder, "learning_rate": 0.0, "save_strategy": "no", **changes})
    result = train(changed)
    return result.steps, result.train_loss


def test_streamed_cached_and_saved_data_train_like_loaded_data(config: TrainingConfig, tmp_path: Path) -> None:
    steps, loss = loss_of(config, tmp_path / "loaded")
    assert steps == 12
    cache = {"pretokenized_cache": str(tmp_path / "cache")}
    assert loss_of(config, tmp_path / "cached", **cache) == (steps, pytest.approx(loss))
    [tokens] = tmp_path.glob("cache/*/train")
    saved = {"dataset_path": str(tokens), "use_pretokenized": True}
    before = sorted(path.name for path in tokens.iterdir())
    assert loss_of(config, tmp_path / "saved", **saved) == (steps, pytest.approx(loss))
    assert sorted(path.name for path in tokens.iterdir()) == before  # nothing is written beside it
    assert loss_of(config, tmp_path / "streamed", streaming=True) == (steps, pytest.approx(loss, rel=1e-3))


def test_every_form_of_a_file_trains_alike(config: TrainingConfig, tmp_path: Path) -> None:
    rows = datasets.Dataset.from_list([{"ask": f"question {n}", "tell": f"answer {n}"} for n in range(8)])
    rows.to_json(str(tmp_path / "a.jsonl"))
    rows.to_csv(str(tmp_path / "a.csv"), index=False)
    rows.to_parquet(str(tmp_path / "a.parquet"))
    (tmp_path / "a.json").write_text(json.dumps(list(rows)))
    mapping = {"field_mapping": {"instruction": "ask", "response": "tell"}, "max_steps": 2}
    losses = {
        loss_of(config, tmp_path / suffix, dataset_path=str(tmp_path / f"a.{suffix}"), **mapping)
        for suffix in ("jsonl", "csv", "parquet", "json")
    }
    assert len(losses) == 1


def test_tasks_and_preferences_train(config: TrainingConfig, tmp_path: Path) -> None:
    sft = write_rows(tmp_path / "sft.jsonl", [{"input": {"instruction": f"q{n}"}, "output": "a"} for n in range(6)])
    dpo = write_rows(tmp_path / "dpo.jsonl", [{"prompt": f"q{n}", "chosen": "a", "rejected": "b"} for n in range(4)])
    tasks: dict[str, Any] = {"x": {"train": str(sft), "weight": 2}, "y": {"train": str(dpo), "format": "dpo"}}
    both = {"dataset_type": "multi_task", "multi_task_config": {"tasks": tasks}, "dataset_path": ""}
    assert loss_of(config, tmp_path / "sft", **both)[0] == 8
    alone = {**both, "multi_task_config": {"tasks": {"y": tasks["y"]}}, "method": "dpo"}
    steps, loss = loss_of(config, tmp_path / "dpo", **alone)
    assert (steps, loss) == (2, pytest.approx(0.6931, abs=1e-3))  # ln 2: at first neither answer is preferred


def test_validation_and_test_losses_are_computed(
    config: TrainingConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    test_path = str(write_rows(tmp_path / "test.jsonl", ROWS[:3]))
    config = replace(config, test_path=test_path, evaluation_strategy="steps", eval_steps=5)
    loss_of(config, tmp_path / "out", streaming=True)
    assert "eval loss" in caplog.text
    assert "test loss" in caplog.text


def test_a_stream_of_preferences_trains(config: TrainingConfig, tmp_path: Path) -> None:
    rows = [{"prompt": f"q{n}", "chosen": "a", "rejected": "b"} for n in range(6)]
    path = str(write_rows(tmp_path / "dpo.jsonl", rows))
    steps, loss = loss_of(config, tmp_path / "out", method="dpo", streaming=True, dataset_path=path)
    assert (steps, loss) == (3, pytest.approx(0.6931, abs=1e-3))
