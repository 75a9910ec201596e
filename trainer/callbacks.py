"""What watches a training from inside: progress, orderly stop, memory clean-up, overfitting, delayed compilation."""

from __future__ import annotations

import gc
import signal
import time
from types import FrameType
from typing import Any, Protocol

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState

from sidestep.shared.logs import get_logger

log = get_logger("trainer")

MEBIBYTE = 1 << 20


class LogProgress(TrainerCallback):
    """One line per logging interval: step, loss, rate, seconds per step."""

    def __init__(self) -> None:
        self._since = (0, time.monotonic())

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kw: Any) -> None:
        self._since = (state.global_step, time.monotonic())
        log.info("training for %d steps", state.max_steps - state.global_step)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kw: Any,
    ) -> None:
        if not state.is_world_process_zero or not logs:
            return
        step, begin = self._since
        if "loss" in logs and state.global_step > step:
            seconds_per_step = (time.monotonic() - begin) / (state.global_step - step)
            log.info(
                "step %d/%d  loss %.4f  rate %.2e  %.2f s a step",
                state.global_step,
                state.max_steps,
                float(logs["loss"]),
                float(logs.get("learning_rate", 0.0)),
                seconds_per_step,
                extra={"fields": {"step": state.global_step, "max_steps": state.max_steps, **logs}},
            )
            self._since = (state.global_step, time.monotonic())
        for name in ("eval_loss", "test_loss"):
            if name in logs:
                log.info("step %d  %s %.4f", state.global_step, name.replace("_", " "), float(logs[name]))


class StopOnSignal(TrainerCallback):
    """The first SIGINT or SIGTERM ends training after the current step, with a save; the second by the old handlers."""

    def __init__(self) -> None:
        self.requested = False
        self._before: dict[int, Any] = {}

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kw: Any) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._on_signal)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kw: Any) -> None:
        if self.requested:
            control.should_training_stop = True
            control.should_save = True

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kw: Any) -> None:
        self._restore()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        self._restore()
        log.warning("stopping after this step; a checkpoint is saved (again to stop at once)")

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}


class DelayCompilation(TrainerCallback):
    """Runs the model as it is for the first steps, and compiled (to CUDA graphs) from then on."""

    def __init__(self, steps: int) -> None:
        self._steps = steps

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kw: Any) -> None:
        torch.compiler.set_stance("force_eager")

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kw: Any) -> None:
        if state.global_step >= self._steps:
            torch.compiler.set_stance("default")

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kw: Any) -> None:
        torch.compiler.set_stance("default")


class DeviceMemory(Protocol):
    """The memory of the device that a training runs on."""

    def free_and_total(self) -> tuple[int, int]:
        """Bytes that are free now, and that there are, whoever uses them."""
        ...

    def release(self) -> None:
        """Give back what nothing refers to any more."""
        ...


class CudaMemory:
    """The current CUDA device."""

    def free_and_total(self) -> tuple[int, int]:
        return torch.cuda.mem_get_info()

    def release(self) -> None:
        gc.collect()
        torch.cuda.empty_cache()


class MemoryCleanup(TrainerCallback):
    """Frees cached GPU memory above 80 % use (at most once per 10 steps) and every 50 steps."""

    FULL_SHARE = 0.8
    AT_MOST_EVERY = 10
    REGULARLY_EVERY = 50
    WORTH_A_LINE = 100 * MEBIBYTE

    def __init__(self, memory: DeviceMemory | None = None) -> None:
        """``memory`` defaults to the CUDA device; without one there is nothing to do."""
        self._memory = memory or (CudaMemory() if torch.cuda.is_available() else None)
        self._last = -self.AT_MOST_EVERY

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kw: Any) -> None:
        if self._memory is None:
            return
        free, total = self._memory.free_and_total()
        if self.is_due(state.global_step, 1 - free / total):
            self._last = state.global_step
            self._memory.release()
            freed = self._memory.free_and_total()[0] - free
            if freed > self.WORTH_A_LINE:
                log.info("freed %d MiB of GPU memory at step %d", freed // MEBIBYTE, state.global_step)

    def is_due(self, step: int, share_used: float) -> bool:
        """Whether to clean up after this step."""
        if step % self.REGULARLY_EVERY == 0:
            return True
        return share_used > self.FULL_SHARE and step - self._last >= self.AT_MOST_EVERY


class OverfittingMonitor(TrainerCallback, ExportableState):
    """Halves the learning rate once, when train loss < 0.3 and validation loss > 1.2 x train loss.

    What the scheduler computes later rates from is halved with it, else the next step would undo it. That it has
    happened is part of each checkpoint, so that a resumed training does not halve a second time.
    """

    LOW_TRAIN_LOSS = 0.3
    WORSE_BY = 1.2

    def __init__(self, halved: bool = False) -> None:
        self._halved = halved

    def state(self) -> dict[str, Any]:
        """What transformers keeps in trainer_state.json."""
        return {"args": {"halved": self._halved}, "attributes": {}}

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kw: Any) -> None:
        kept = (state.stateful_callbacks or {}).get(type(self).__name__)
        if isinstance(kept, dict) and state.global_step > 0:
            self._halved = bool(kept.get("args", {}).get("halved"))

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        **kw: Any,
    ) -> None:
        train_loss = next((row["loss"] for row in reversed(state.log_history) if "loss" in row), None)
        eval_loss = (metrics or {}).get("eval_loss")
        if self._halved or train_loss is None or eval_loss is None:
            return
        if train_loss < self.LOW_TRAIN_LOSS and eval_loss > self.WORSE_BY * train_loss:
            self._halved = True
            halve_learning_rate(kw["optimizer"], kw.get("lr_scheduler"))
            log.warning(
                "overfitting at step %d (train loss %.3f, validation loss %.3f): the learning rate is halved",
                state.global_step,
                train_loss,
                eval_loss,
            )


# Where torch's and transformers' schedulers keep the rates that they start from, are bound by, or have set.
_RATES_OF_SCHEDULERS = ("base_lrs", "_last_lr", "_init_lrs", "min_lrs", "max_lrs")


def halve_learning_rate(optimizer: Any, scheduler: Any) -> None:
    """Halve every rate that a later step could start from."""
    inner = getattr(scheduler, "scheduler", scheduler)  # accelerate wraps it
    for group in optimizer.param_groups:
        for key in ("lr", "initial_lr"):
            if group.get(key) is not None:  # optimizers that find their rate themselves have none
                group[key] = group[key] / 2
    for name in _RATES_OF_SCHEDULERS:
        rates = getattr(inner, name, None)
        if isinstance(rates, list):
            setattr(inner, name, [rate / 2 for rate in rates])
