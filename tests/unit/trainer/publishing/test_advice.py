"""A training that follows the evaluator's advice, with a callback in the evaluator's place that writes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, Trainer, TrainerCallback, TrainingArguments

from sidestep.shared.protocol.layout import MARKER_NAME, ModelFolder
from sidestep.shared.protocol.marker import parse_marker
from sidestep.shared.protocol.place import reports_of
from sidestep.trainer.config.reading import from_host
from sidestep.trainer.publishing.advice import FollowAdvice
from sidestep.trainer.publishing.publisher import PublishCheckpoint
from sidestep.trainer.trainer import train


class Reached(Exception):
    """The training has come to where it takes the callback."""


class Evaluator(TrainerCallback):
    """Says, whenever a save is due, that checkpoint 2 is best; from step 6 on, that training should stop."""

    def __init__(self, **changes: Any) -> None:
        self._changes = changes

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        folder = ModelFolder(Path(args.output_dir))
        marker_path = folder.checkpoint(2) / MARKER_NAME
        if not control.should_save or not marker_path.is_file():
            return
        marker = parse_marker(marker_path.read_bytes())
        about = {
            "newest_run_id": marker.run_id,
            "newest_step": state.global_step - 2,
            "best": {"step": 2, "manifest_hash": marker.files_hash},
            "stop": {"suggested": state.global_step >= 6, "reason": "nothing gets better"},
            **self._changes,
        }
        advice = reports_of(folder).advice
        advice.parent.mkdir(exist_ok=True)
        advice.write_text(json.dumps({"models": {folder.root.name: about}}))


def _train(tiny_model: Path, out: Path, *callbacks: TrainerCallback, **more: Any) -> Trainer:
    torch.manual_seed(0)
    rows = [{"input_ids": [5, 6, 7, 8 + n], "labels": [5, 6, 7, 8 + n]} for n in range(20)]
    arguments = TrainingArguments(
        output_dir=str(out), max_steps=10, per_device_train_batch_size=1, save_steps=2, report_to=[], use_cpu=True,
        disable_tqdm=True, **more,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    trainer = Trainer(
        model=model, args=arguments, train_dataset=Dataset.from_list(rows), callbacks=[PublishCheckpoint(), *callbacks]
    )
    trainer.train()
    return trainer


def _kept(out: Path) -> list[str]:
    return sorted(path.name for path in out.glob("checkpoint-*"))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "weights" / "tiny"


def test_the_best_checkpoint_outlives_rotation(tiny_model: Path, out: Path) -> None:
    trainer = _train(tiny_model, out, Evaluator(), FollowAdvice(), save_total_limit=2)
    assert trainer.state.global_step == 10
    assert _kept(out) == ["checkpoint-10", "checkpoint-2"]
    assert trainer.state.best_model_checkpoint is None


def test_with_a_limit_of_one_the_newest_one_is_never_sacrificed(tiny_model: Path, out: Path) -> None:
    """transformers deletes all but the best at the end of training when the limit is one."""
    _train(tiny_model, out, Evaluator(), FollowAdvice(), save_total_limit=1)
    assert "checkpoint-10" in _kept(out)


def test_it_stops_when_that_is_suggested_and_only_then(tiny_model: Path, out: Path) -> None:
    trainer = _train(tiny_model, out, Evaluator(), FollowAdvice(stop=True), save_total_limit=2)
    assert trainer.state.global_step == 6
    assert _kept(out) == ["checkpoint-2", "checkpoint-6"]


@pytest.mark.parametrize(
    "changes",
    [
        {"newest_run_id": "another training"},
        {"best": {"step": 2, "manifest_hash": "other files"}, "stop": {"suggested": False, "reason": ""}},
        {"best": None},
    ],
)
def test_advice_about_something_else_or_none_at_all_changes_nothing(
    tiny_model: Path, out: Path, changes: dict[str, Any]
) -> None:
    trainer = _train(tiny_model, out, Evaluator(**changes), FollowAdvice(stop=True), save_total_limit=2)
    assert trainer.state.global_step == 10
    assert _kept(out) == ["checkpoint-10", "checkpoint-8"]


def test_without_an_evaluator_training_is_as_ever(tiny_model: Path, out: Path) -> None:
    trainer = _train(tiny_model, out, FollowAdvice(stop=True), save_total_limit=2)
    assert (trainer.state.global_step, _kept(out)) == (10, ["checkpoint-10", "checkpoint-8"])


@pytest.mark.parametrize(("follow_advice", "asked"), [("keep", [{"stop": False}]), ("stop", [{"stop": True}])])
def test_the_configuration_decides(
    host_config: Any, monkeypatch: pytest.MonkeyPatch, follow_advice: str, asked: list[dict[str, bool]]
) -> None:
    made: list[dict[str, bool]] = []

    def follow(**options: bool) -> FollowAdvice:
        made.append(options)
        raise Reached

    monkeypatch.setattr("sidestep.trainer.trainer.FollowAdvice", follow)
    with pytest.raises(Reached):
        train(from_host(host_config(follow_advice=follow_advice)))
    assert made == asked


def test_where_transformers_looks_for_the_best_itself_that_one_is_spared(tiny_model: Path, out: Path) -> None:
    _train(tiny_model, out, Evaluator(), FollowAdvice(), save_total_limit=2, metric_for_best_model="loss")
    assert _kept(out) == ["checkpoint-10", "checkpoint-8"]
