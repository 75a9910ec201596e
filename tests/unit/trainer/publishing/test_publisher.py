"""PublishCheckpoint in a plain transformers Trainer: every save published, training never disturbed."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments

from sidestep.evaluator.watching.scan import scan
from sidestep.shared.protocol.layout import INCOMPLETE_SENTINEL, MARKER_NAME, ModelFolder
from sidestep.shared.protocol.marker import RunDescription, TrainingMetrics, parse_marker
from sidestep.shared.protocol.outbox import held_entries
from sidestep.shared.protocol.place import find_place
from sidestep.trainer.publishing.checkpoint_publisher import CheckpointPublisher
from sidestep.trainer.publishing.handover import Handover
from sidestep.trainer.publishing.publisher import PublishCheckpoint
from tests.fakes.checkpoints import write_checkpoint


def _train(
    tiny_model: Path, out: Path, *callbacks: Any, steps: int = 6, resume: str | None = None, **more: Any
) -> Trainer:
    torch.manual_seed(0)
    rows = [{"input_ids": [5, 6, 7, 8 + n], "labels": [5, 6, 7, 8 + n]} for n in range(20)]
    arguments = TrainingArguments(
        output_dir=str(out), max_steps=steps, per_device_train_batch_size=1, save_steps=2, logging_steps=1,
        report_to=[], use_cpu=True, disable_tqdm=True, **more,
    )  # fmt: skip
    trainer = Trainer(
        model=AutoModelForCausalLM.from_pretrained(tiny_model),
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        callbacks=list(callbacks),
    )
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def test_every_save_is_published_although_rotation_deletes_it(tiny_model: Path, tmp_path: Path) -> None:
    out = ModelFolder(tmp_path / "weights" / "tiny")
    publisher = PublishCheckpoint(RunDescription("shop", "1.0", "tiny", adapter_type="full"))
    _train(tiny_model, out.root, publisher, save_total_limit=1)
    assert [path.name for path in out.root.glob("checkpoint-*")] == ["checkpoint-6"]
    held = held_entries(out)
    assert [entry.marker.step for entry in held] == [2, 4, 6]
    marker = parse_marker((out.checkpoint(6) / MARKER_NAME).read_bytes())
    assert marker == held[-1].marker
    assert (marker.run.expert_name, marker.run.expert_version, marker.run.adapter_type) == ("shop", "1.0", "full")
    assert marker.metrics.train_loss is not None
    assert marker.metrics.seconds_per_step is not None
    assert {"model.safetensors", "config.json", "trainer_state.json"} <= {entry.name for entry in marker.files}
    assert not any(entry.name.endswith((".pt", ".bin", ".pth")) for entry in marker.files)
    assert len(publisher.blocked_seconds) == 3


def test_rotation_and_mtimes_are_as_without_a_publisher(tiny_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "weights" / "tiny"
    _train(tiny_model, out, PublishCheckpoint(), save_total_limit=2)
    for folder in out.glob("checkpoint-*"):
        newest = max(path.stat().st_mtime_ns for path in folder.iterdir() if path.name != MARKER_NAME)
        assert folder.stat().st_mtime_ns <= newest
    assert sorted(path.name for path in out.glob("checkpoint-*")) == ["checkpoint-4", "checkpoint-6"]


def test_a_failure_to_publish_never_reaches_training(tiny_model: Path, tmp_path: Path) -> None:
    out = ModelFolder(tmp_path / "weights" / "tiny")
    out.root.mkdir(parents=True)
    out.outbox.write_text("in the way")
    trainer = _train(tiny_model, out.root, PublishCheckpoint())
    assert trainer.state.global_step == 6
    assert not (out.checkpoint(6) / MARKER_NAME).exists()


def test_what_was_saved_without_being_published_is_published_at_the_next_start(
    tiny_model: Path, tmp_path: Path
) -> None:
    out = ModelFolder(tmp_path / "weights" / "tiny")
    _train(tiny_model, out.root, steps=4)
    before = {path: path.stat().st_mtime_ns for path in out.root.glob("checkpoint-*")}
    write_checkpoint(out, 3)
    (out.checkpoint(3) / INCOMPLETE_SENTINEL).touch()
    (out.root / "checkpoint-1").mkdir()
    _train(tiny_model, out.root, PublishCheckpoint(), steps=6, resume=str(out.checkpoint(4)))
    assert [entry.marker.step for entry in held_entries(out)] == [2, 4, 6]
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert not (out.checkpoint(3) / MARKER_NAME).exists()


def test_a_resumed_run_that_saves_the_same_step_again_publishes_the_new_files(tiny_model: Path, tmp_path: Path) -> None:
    out = ModelFolder(tmp_path / "weights" / "tiny")
    _train(tiny_model, out.root, PublishCheckpoint(), steps=4)
    first = parse_marker((out.checkpoint(4) / MARKER_NAME).read_bytes())
    _train(tiny_model, out.root, PublishCheckpoint(), steps=4, learning_rate=1e-2)
    second = parse_marker((out.checkpoint(4) / MARKER_NAME).read_bytes())
    assert first.files_hash != second.files_hash
    assert second.files_hash in {entry.marker.files_hash for entry in held_entries(out)}


@pytest.mark.parametrize("strategy", ["epoch", "best"])
def test_other_save_strategies(tiny_model: Path, tmp_path: Path, strategy: str) -> None:
    out = ModelFolder(tmp_path / "weights" / "tiny")
    torch.manual_seed(0)
    rows = Dataset.from_list([{"input_ids": [5, 6, 7], "labels": [5, 6, 7]}] * 4)
    arguments = TrainingArguments(
        output_dir=str(out.root), num_train_epochs=2, per_device_train_batch_size=2, save_strategy=strategy,
        eval_strategy="epoch", metric_for_best_model="loss", report_to=[], use_cpu=True, disable_tqdm=True,
        save_total_limit=1,
    )  # fmt: skip
    Trainer(
        model=AutoModelForCausalLM.from_pretrained(tiny_model), args=arguments, train_dataset=rows, eval_dataset=rows,
        callbacks=[PublishCheckpoint()],
    ).train()  # fmt: skip
    assert [entry.marker.step for entry in held_entries(out)] == [2, 4]


class _Sharding(Trainer):
    """Saves as FSDP does with SHARDED_STATE_DICT: a folder of shards in place of weights."""

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        shards = Path(str(output_dir)) / "pytorch_model_fsdp_0"
        shards.mkdir(parents=True)
        (shards / "__0_0.distcp").write_bytes(b"shard")


def test_shards_are_published_with_the_reason_why_they_cannot_be_evaluated(tiny_model: Path, tmp_path: Path) -> None:
    out = ModelFolder(tmp_path / "weights" / "tiny")
    rows = Dataset.from_list([{"input_ids": [5, 6, 7], "labels": [5, 6, 7]}] * 4)
    arguments = TrainingArguments(
        output_dir=str(out.root), max_steps=2, save_steps=1, save_total_limit=1, report_to=[], use_cpu=True,
        disable_tqdm=True,
    )  # fmt: skip
    _Sharding(
        model=AutoModelForCausalLM.from_pretrained(tiny_model), args=arguments, train_dataset=rows,
        callbacks=[PublishCheckpoint()],
    ).train()  # fmt: skip
    found = scan(find_place(tmp_path / "weights"))
    assert [candidate.step for candidate in found] == [1, 2]
    reason = "its weights are FSDP shards (pytorch_model_fsdp_0)"
    assert all(reason in str(candidate.rejected) for candidate in found)


def publish_only_when_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have each checkpoint published only when the training thread waits for it: later than that is too late."""
    begin, publish, wait = Handover.publish, CheckpointPublisher.publish, Handover.wait
    is_waited_for = threading.Event()

    def begin_unwaited(self: Handover, step: int, metrics: TrainingMetrics) -> None:
        is_waited_for.clear()
        begin(self, step, metrics)

    def publish_late(self: CheckpointPublisher, step: int, metrics: TrainingMetrics | None = None) -> None:
        assert is_waited_for.wait(60)
        publish(self, step, metrics)

    def wait_and_tell(self: Handover) -> None:
        if self._thread is not None:
            is_waited_for.set()
        wait(self)

    monkeypatch.setattr(Handover, "publish", begin_unwaited)
    monkeypatch.setattr(Handover, "wait", wait_and_tell)
    monkeypatch.setattr(CheckpointPublisher, "publish", publish_late)


def test_the_last_checkpoint_is_published_although_it_is_deleted_at_once(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """save_total_limit 1 and an earlier best one: the Trainer deletes the last checkpoint at the end of training."""
    out = ModelFolder(tmp_path / "weights" / "tiny")
    publish_only_when_waited_for(monkeypatch)
    rows = Dataset.from_list([{"input_ids": [5, 6, 7], "labels": [5, 6, 7]}] * 4)
    arguments = TrainingArguments(
        output_dir=str(out.root), max_steps=2, save_steps=1, save_total_limit=1, eval_strategy="steps", eval_steps=1,
        load_best_model_at_end=True, metric_for_best_model="loss", greater_is_better=True, report_to=[], use_cpu=True,
        disable_tqdm=True,
    )  # fmt: skip
    Trainer(
        model=AutoModelForCausalLM.from_pretrained(tiny_model), args=arguments, train_dataset=rows, eval_dataset=rows,
        callbacks=[PublishCheckpoint()],
    ).train()  # fmt: skip
    assert [path.name for path in out.root.glob("checkpoint-*")] == ["checkpoint-1"]
    assert [entry.marker.step for entry in held_entries(out)] == [1, 2]
