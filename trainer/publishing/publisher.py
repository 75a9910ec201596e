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

import logging
import os
import signal
import threading
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from sidestep.shared.errors import ConfigError, PublishError, SidestepError
from sidestep.shared.files import replace_file
from sidestep.shared.logs import configure_logging, get_logger
from sidestep.shared.protocol.checkpoint import (
    IncompleteCheckpoint,
    check_finished,
    is_weights,
    read_trainer_state,
    why_not_evaluable,
)
from sidestep.shared.protocol.layout import (
    INCOMPLETE_SENTINEL,
    MARKER_NAME,
    ModelFolder,
    checkpoint_step,
    last_path_part,
)
from sidestep.shared.protocol.marker import FileEntry, Marker
from sidestep.shared.protocol.outbox import OutboxLimits, enforce_limits, stage, sweep_leftovers
from sidestep.shared.protocol.outcomes import is_settled
from sidestep.shared.protocol.pace import PaceFile
from sidestep.shared.protocol.place import reports_of
from sidestep.trainer.publishing.launch import (
    EvaluatorProcess,
    LaunchOptions,
    base_model_of,
    start_evaluator,
    wait_at_exit,
)

log = get_logger("trainer.publisher")


@dataclass(frozen=True)
class RunDescription:
    """What the marker says about the training, beside what the Trainer itself knows."""

    expert_name: str = "unknown"
    expert_version: str = "unknown"
    base_model: str = ""
    base_revision: str | None = None
    adapter_type: str = "unknown"
    dtype: str = "unknown"
    prompt_template: str | None = None


@dataclass(frozen=True)
class _Pace:
    """What is known about training at the moment of a save; taken on the training thread, costs nothing."""

    train_loss: float | None
    learning_rate: float | None
    seconds_per_step: float | None


class PublishCheckpoint(TrainerCallback):
    """Publishes every checkpoint the Trainer saves, from the main process only.

    ``description`` fills the marker; what it leaves out is read from the model and the expert's manifest.
    ``limits`` bounds what may wait for the evaluator. ``blocked_seconds`` records, for each save, how long the
    training thread was held by publishing (benchmarks/publish_blocking.py reads it).

    With ``launch`` an evaluator of ``suite`` is started as a process of its own when training begins, told when it
    ends, and waited for at the interpreter's exit (``evaluator`` says how, and for how long). Without, checkpoints
    are published only, and the command that evaluates them by ``suite`` is logged. Raises ConfigError when asked to
    launch without test cases.
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
        self._suite = Path(suite).absolute() if suite else None
        self._launch = launch
        self._launch_options = evaluator or LaunchOptions()
        self.evaluator: EvaluatorProcess | None = None
        if launch and (self._suite is None or not self._suite.is_file()):
            raise ConfigError(
                f"PublishCheckpoint(launch=True): {self._suite or 'suite'} is no file",
                hint="give suite= the path of the test cases (docs/test-cases.md)",
            )
        self._given = description
        self._description = description or RunDescription()
        self._limits = limits or OutboxLimits()
        self._run_id = uuid.uuid4().hex
        self._thread: threading.Thread | None = None
        self._last_save: tuple[int, float] | None = None
        self._joined_seconds = 0.0
        self._pace_file: PaceFile | None = None
        self.blocked_seconds: list[float] = []

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if not state.is_world_process_zero:
            return
        if self._given is None:
            self._description = describe_run(Path(str(args.output_dir)), kwargs.get("model"))
        self._last_save = (state.global_step, time.monotonic())
        model = ModelFolder(Path(str(args.output_dir)))
        self._pace_file = PaceFile(model.pace)
        self._pace_file.start()
        if self._launch or self._suite:
            self._introduce_evaluator(
                model.absolute(), kwargs.get("model"), "cpu" if args.use_cpu else str(args.device)
            )
        self._hear_of_saves_on_sigterm(args, state)
        self._start(_publish_unpublished, model, self._publish, sweep=True)

    def _hear_of_saves_on_sigterm(self, args: TrainingArguments, state: TrainerState) -> None:
        """With enable_jit_checkpoint, transformers saves on SIGTERM between two steps and tells no callback before."""
        manager = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
        save = getattr(manager, "execute_jit_checkpoint", None)
        if save is None:
            return

        def prepare_and_save() -> None:
            self._before_save(args, state)
            save()

        manager.execute_jit_checkpoint = prepare_and_save  # type: ignore[union-attr]

    def _introduce_evaluator(self, model: ModelFolder, loaded: Any, device: str) -> None:
        """Start the evaluator, or say how. Whatever goes wrong here, training goes on and publishes."""
        assert self._suite is not None
        if not logging.getLogger("sidestep").hasHandlers():
            configure_logging()  # a script that set up no log should still see these lines
        reports = reports_of(model)
        if not self._launch:
            log.info("published only; to evaluate: sidestep-evaluator watch %s --suite %s --base-model …",
                     model.root, self._suite)  # fmt: skip
            return
        options = self._launch_options
        try:
            base_model = base_model_of(loaded, options.base_model)
            self.evaluator = start_evaluator(
                model, reports, self._suite, base_model, options, device if device.startswith("cuda") else "cpu"
            )
        except (OSError, SidestepError) as error:
            log.error("%s; training goes on and publishes its checkpoints", error)
            return
        wait_at_exit(self.evaluator, options.drain_seconds)
        log.info("the evaluator runs beside this training (process %d): reports in %s, its log is %s",
                 self.evaluator.pid, reports.root, self.evaluator.log_file)  # fmt: skip

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self._pace_file:
            self._pace_file.note_step(state.global_step, state.max_steps)
        if control.should_save:
            self._before_save(args, state)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if control.should_save:
            self._before_save(args, state)

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._join()  # save_strategy "best" decides to save after this
        if self._pace_file:
            self._pace_file.note_pause()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if "train_runtime" in (logs or {}):
            self._join()  # with save_total_limit 1, the last checkpoint is deleted after this when it is not the best

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if not state.is_world_process_zero:
            return
        begin = time.perf_counter()
        self._join()
        model = ModelFolder(Path(str(args.output_dir)))
        self._start(self._publish, model, state.global_step, self._pace(state))
        self.blocked_seconds.append(time.perf_counter() - begin + self._joined_seconds)
        self._joined_seconds = 0.0
        if self._pace_file:
            self._pace_file.note_pause()

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._join()
        if self._pace_file:
            self._pace_file.close()
        if state.is_world_process_zero:  # a save on SIGTERM skips on_save
            _publish_unpublished(ModelFolder(Path(str(args.output_dir))), self._publish, sweep=False)
        if self.evaluator:
            self.evaluator.finish()

    def _before_save(self, args: TrainingArguments, state: TrainerState) -> None:
        """The save that follows may rotate away what is still being published, or overwrite a marked checkpoint."""
        self._join()
        if state.is_world_process_zero:
            _make_way(ModelFolder(Path(str(args.output_dir))).checkpoint(state.global_step))

    def _start(self, target: Any, *args: Any, **kwargs: Any) -> None:
        def run() -> None:
            try:
                target(*args, **kwargs)
            except Exception as error:
                log.error(
                    "publishing failed; training goes on: %s",
                    error,
                    exc_info=not isinstance(error, (OSError, SidestepError)),
                )

        self._thread = threading.Thread(target=run, name="publish-checkpoint")
        self._thread.start()

    def _join(self) -> None:
        if self._thread is None:
            return
        begin = time.perf_counter()
        self._thread.join()
        self._thread = None
        self._joined_seconds += time.perf_counter() - begin

    def _pace(self, state: TrainerState) -> _Pace:
        rows = [row for row in state.log_history if "loss" in row]
        now, last = time.monotonic(), self._last_save
        steps = state.global_step - last[0] if last else 0
        seconds = (now - last[1]) / steps if last and steps > 0 else None
        self._last_save = (state.global_step, now)
        if not rows:
            return _Pace(None, None, seconds)
        return _Pace(_number(rows[-1].get("loss")), _number(rows[-1].get("learning_rate")), seconds)

    def _publish(self, model: ModelFolder, step: int, pace: _Pace | None = None) -> None:
        """Steps 1 to 4 of the protocol, then the outbox's limit."""
        checkpoint = model.checkpoint(step)
        if (checkpoint / INCOMPLETE_SENTINEL).exists():
            log.warning("%s is marked incomplete and is not published", checkpoint)
            return
        if pace is None:
            saved = read_trainer_state(checkpoint)
            pace = _Pace(saved.train_loss, saved.learning_rate, None)
        reason = why_not_evaluable(checkpoint)
        if reason:
            log.warning("%s cannot be evaluated because %s", checkpoint.name, reason)
        before = checkpoint.stat()
        held = stage(model, checkpoint, lambda files: self._marker(step, pace, files, reason))
        replace_file(checkpoint / MARKER_NAME, held.marker.to_bytes())
        # transformers rotates by folder mtime: leave it as the save left it.
        os.utime(checkpoint, ns=(before.st_atime_ns, before.st_mtime_ns))
        log.info(
            "published %s",
            checkpoint.name,
            extra={"fields": {"step": step, "manifest_hash": held.marker.files_hash}},
        )
        self._limit_outbox(model)

    def _marker(self, step: int, pace: _Pace, files: tuple[FileEntry, ...], not_evaluable: str | None) -> Marker:
        about = self._description
        return Marker(
            run_id=self._run_id,
            step=step,
            expert_name=about.expert_name,
            expert_version=about.expert_version,
            base_model=about.base_model,
            base_revision=about.base_revision,
            adapter_type=about.adapter_type,
            dtype=about.dtype,
            prompt_template=about.prompt_template,
            not_evaluable=not_evaluable,
            files=files,
            train_loss=pace.train_loss,
            learning_rate=pace.learning_rate,
            seconds_per_step=pace.seconds_per_step,
            published_at=time.time(),
        )

    def _limit_outbox(self, model: ModelFolder) -> None:
        reports = reports_of(model)

        def is_done(marker: Marker) -> bool:
            return is_settled(reports, marker.key(model.root.name))

        for held in enforce_limits(model, self._limits, is_done):
            log.warning(
                "%s was dropped before it was evaluated: more than %d checkpoints or %.0f GiB wait in %s",
                held.path.name,
                self._limits.entries,
                self._limits.bytes / 2**30,
                model.outbox,
            )


def _make_way(checkpoint: Path) -> None:
    """Prepare for a save over a checkpoint that was published (a run resumed from an earlier step).

    Its marker goes, and so do its weights where the outbox holds them: they are the same files, and writing over
    them would destroy what still waits for the evaluator.
    """
    if not checkpoint.is_dir():
        return
    (checkpoint / MARKER_NAME).unlink(missing_ok=True)
    for path in checkpoint.iterdir():
        if is_weights(path.name) and path.lstat().st_nlink > 1:
            path.unlink()


def _publish_unpublished(model: ModelFolder, publish: Any, *, sweep: bool) -> None:
    """Publish complete checkpoints that have no marker: saved on SIGTERM, or just before a crash."""
    if not model.root.is_dir():
        return
    if sweep:
        sweep_leftovers(model)
    steps = (checkpoint_step(path.name) for path in model.root.iterdir())
    for step in sorted(step for step in steps if step is not None):
        checkpoint = model.checkpoint(step)
        if (checkpoint / MARKER_NAME).exists():
            continue
        try:
            check_finished(checkpoint)
            publish(model, step)
        except IncompleteCheckpoint as error:
            log.warning("%s is not published: %s", checkpoint, error)
        except (OSError, PublishError) as error:
            log.error("%s could not be published; training goes on: %s", checkpoint, error)


def describe_run(output_dir: Path, model: Any) -> RunDescription:
    """What can be known without being told: the manifest beside ``output_dir``, and the model itself."""
    name, version = _expert_of(output_dir)
    config = getattr(model, "config", None)
    peft_configs = getattr(model, "peft_config", None)
    adapter_type = "full"
    if peft_configs:
        adapter = next(iter(peft_configs.values()))
        kind = getattr(adapter.peft_type, "value", adapter.peft_type)
        adapter_type = "dora" if getattr(adapter, "use_dora", False) else str(kind).lower()
    return RunDescription(
        expert_name=name,
        expert_version=version,
        base_model=str(getattr(config, "_name_or_path", "") or ""),
        adapter_type=adapter_type,
        dtype=str(getattr(model, "dtype", "unknown")).removeprefix("torch."),
    )


def _expert_of(output_dir: Path) -> tuple[str, str]:
    for folder in (output_dir.parent.parent, output_dir.parent, output_dir):
        try:
            manifest = orjson.loads((folder / "manifest.json").read_bytes())
            return str(manifest["name"]), str(manifest["version"])
        except (OSError, orjson.JSONDecodeError, KeyError, TypeError):
            continue
    return last_path_part(str(output_dir.resolve())), "unknown"


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None
