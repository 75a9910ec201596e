"""Hands each checkpoint over to the evaluator, in any transformers or TRL training, by one callback.

    trainer = SFTTrainer(..., callbacks=[PublishCheckpoint()])
    trainer = SFTTrainer(..., callbacks=[PublishCheckpoint(suite="tests/test_cases.json", launch=True)])

The second line also starts the evaluator, as a process of its own (trainer.publishing.launch).

A save is followed by: make the files durable, hold them in the outbox, write the marker (docs/protocol.md). That
happens on a background thread which is joined before the next save and at the end of training, so the training
loop waits only where the next save's rotation could otherwise overtake it. Nothing that fails here is raised
into training. This module has no ties to those that train.
"""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from sidestep.shared.protocol.layout import ModelFolder
from sidestep.shared.protocol.marker import RunDescription
from sidestep.shared.protocol.outbox import OutboxLimits
from sidestep.trainer.publishing.checkpoint_publisher import CheckpointPublisher
from sidestep.trainer.publishing.evaluator_process import EvaluatorProcess
from sidestep.trainer.publishing.handover import Handover
from sidestep.trainer.publishing.launch import EvaluatorLaunch, LaunchOptions
from sidestep.trainer.publishing.run_description import describe_run
from sidestep.trainer.publishing.sigterm_save import before_saves_on_sigterm
from sidestep.trainer.publishing.training_pace import TrainingPace


class PublishCheckpoint(TrainerCallback):
    """Publishes every checkpoint the Trainer saves, from the main process only.

    ``description`` fills the marker; what it leaves out is read from the model and the expert's manifest.
    ``limits`` bounds what may wait for the evaluator. ``blocked_seconds`` records, for each save, how long the
    training thread was held by publishing (benchmarks/publish_blocking.py reads it).

    With ``launch`` an evaluator of ``suite`` is started as a process of its own when training begins, told when it
    ends, and waited for at the interpreter's exit (``evaluator`` says how, and for how long). Without, checkpoints
    are published only, and the command that evaluates them by ``suite`` is logged. Raises ConfigError when asked to
    launch without test cases, or with an interpreter that cannot run the evaluator.
    """

    def __init__(
        self,
        description: RunDescription | None = None,
        limits: OutboxLimits | None = None,
        *,
        suite: str | Path | None = None,
        launch: bool = False,
        evaluator: LaunchOptions | None = None,
    ) -> None:
        self._description = description
        self._limits = limits or OutboxLimits()
        self._run_id = uuid.uuid4().hex
        self._launch = EvaluatorLaunch(
            Path(suite).absolute() if suite else None, evaluator or LaunchOptions(), wanted=launch
        )
        self._launch.check()
        self._handover: Handover | None = None  # these two: from the beginning of training, in the main process
        self._pace: TrainingPace | None = None
        self.evaluator: EvaluatorProcess | None = None
        self.blocked_seconds: list[float] = []

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if not state.is_world_process_zero:
            return
        folder, loaded = ModelFolder(Path(str(args.output_dir))), kwargs.get("model")
        description = self._description or describe_run(folder.root, loaded)
        handover = Handover(CheckpointPublisher(folder, description, self._limits, self._run_id))
        self._handover = handover
        self._pace = TrainingPace(folder, state.global_step)
        self._pace.start()
        self.evaluator = self._launch.begin(folder.absolute(), loaded, "cpu" if args.use_cpu else str(args.device))
        before_saves_on_sigterm(lambda: handover.prepare_save(state.global_step))
        handover.publish_unmarked()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self._pace:
            self._pace.note_step(state.global_step, state.max_steps)
        self._prepare_save(state, control)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._prepare_save(state, control)

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self._handover:
            self._handover.wait()  # save_strategy "best" decides to save after this
        if self._pace:
            self._pace.note_pause()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        if self._handover and "train_runtime" in (logs or {}):
            # With save_total_limit 1, the last checkpoint is deleted after this when it is not the best.
            self._handover.wait()

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self._handover is None or self._pace is None:
            return
        began = time.perf_counter()
        self._handover.publish(state.global_step, self._pace.metrics_at_save(state.global_step, state.log_history))
        self._pace.note_pause()
        self.blocked_seconds.append(time.perf_counter() - began + self._handover.take_waited_seconds())

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self._pace:
            self._pace.close()
        if self._handover:
            self._handover.finish()
        if self.evaluator:
            self.evaluator.finish()

    def _prepare_save(self, state: TrainerState, control: TrainerControl) -> None:
        if self._handover and control.should_save:
            self._handover.prepare_save(state.global_step)
