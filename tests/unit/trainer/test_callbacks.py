"""Memory clean-up and overfitting monitor inside a real Trainer, with every scheduler that transformers has."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.optimization import TYPE_TO_SCHEDULER_FUNCTION

from sidestep.trainer.callbacks import MEBIBYTE, MemoryCleanup, OverfittingMonitor, halve_learning_rate

STEPS = 12
HALVED_AT = 4
GIBIBYTE = 1 << 30

# What some schedulers need, and what makes the others move within so few steps.
ARGUMENTS: dict[str, dict[str, Any]] = {
    "warmup_stable_decay": {"num_decay_steps": 5},
    "cosine_with_min_lr": {"min_lr": 0.01},
    "cosine_warmup_with_min_lr": {"min_lr_rate": 0.1},
    "cosine_with_restarts": {"num_cycles": 2},
    "polynomial": {"lr_end": 0.001},
    "reduce_lr_on_plateau": {"patience": 0, "factor": 0.8, "min_lr": 0.075},
    "greedy": {"patience": 0, "factor": 0.9, "min_lr": 0.095, "max_lr": 0.105, "reset_start": 1},
}


class Learner(torch.nn.Module):
    """A model whose losses in training and validation are as told; its weight learns nothing of use."""

    def __init__(self, train_loss: float = 0.1, eval_loss: float = 0.5) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.losses = (train_loss, eval_loss)

    def forward(self, x: torch.Tensor, labels: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        loss = self.losses[0] if self.training else self.losses[1]
        return {"loss": loss + 0 * (self.weight * x).mean(), "logits": x}


class Rates(TrainerCallback):
    """The optimizer's rate after each step, once validation has had its say."""

    def __init__(self) -> None:
        self.seen: dict[int, float] = {}

    def on_step_begin(self, args: Any, state: Any, control: Any, **kw: Any) -> None:
        self.seen[state.global_step] = kw["optimizer"].param_groups[0]["lr"]


def rates(
    folder: Path, scheduler: str, *callbacks: TrainerCallback, model: Learner | None = None, resume: str | None = None
) -> dict[int, float]:
    """The rate each step was taken with."""
    arguments = TrainingArguments(
        output_dir=str(folder), use_cpu=True, report_to=[], disable_tqdm=True, logging_steps=1, save_steps=6,
        eval_strategy="steps", eval_steps=2, eval_delay=HALVED_AT, max_steps=STEPS, learning_rate=0.1, warmup_steps=2,
        per_device_train_batch_size=1, lr_scheduler_type=scheduler, lr_scheduler_kwargs=ARGUMENTS.get(scheduler, {}),
        metric_for_best_model="loss",
    )  # fmt: skip
    rows = [{"x": torch.ones(1), "labels": torch.ones(1)}] * STEPS
    seen = Rates()
    trainer = Trainer(
        model or Learner(), arguments, train_dataset=rows, eval_dataset=rows[:1], callbacks=[*callbacks, seen]
    )
    trainer.train(resume_from_checkpoint=resume)
    return seen.seen


@pytest.mark.parametrize("scheduler", [str(kind.value) for kind in TYPE_TO_SCHEDULER_FUNCTION])
def test_the_halved_rate_lasts_under_every_scheduler_and_after_resuming(tmp_path: Path, scheduler: str) -> None:
    whole = rates(tmp_path / "whole", scheduler)
    halved = rates(tmp_path / "halved", scheduler, OverfittingMonitor())
    assert {step: halved[step] for step in range(HALVED_AT)} == {step: whole[step] for step in range(HALVED_AT)}
    later = range(HALVED_AT, STEPS)
    assert [halved[step] for step in later] == pytest.approx([whole[step] / 2 for step in later])
    checkpoint = str(tmp_path / "halved" / "checkpoint-6")
    resumed = rates(tmp_path / "halved", scheduler, OverfittingMonitor(), resume=checkpoint)
    assert [resumed[step] for step in range(6, STEPS)] == pytest.approx([halved[step] for step in range(6, STEPS)])


def test_a_training_resumed_before_the_halving_halves_then(tmp_path: Path) -> None:
    fit = Learner(train_loss=0.1, eval_loss=0.1)
    rates(tmp_path, "constant", OverfittingMonitor(), model=fit)
    resumed = rates(tmp_path, "constant", OverfittingMonitor(), resume=str(tmp_path / "checkpoint-6"))
    assert list(resumed.values()) == [0.1, 0.1, 0.05, 0.05, 0.05, 0.05]


@pytest.mark.parametrize(
    ("train_loss", "eval_loss", "halved"),
    [(0.2, 0.25, True), (0.2, 0.23, False), (0.29, 0.4, True), (0.31, 0.9, False), (0.2, 0.1, False)],
)
def test_it_halves_once_when_both_conditions_hold(
    tmp_path: Path, train_loss: float, eval_loss: float, halved: bool
) -> None:
    seen = rates(tmp_path, "constant", OverfittingMonitor(), model=Learner(train_loss, eval_loss))
    assert set(seen.values()) == ({0.1, 0.05} if halved else {0.1})


def test_an_optimizer_without_a_rate_of_its_own_is_left_alone() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    optimizer.param_groups[0]["lr"] = None  # as Adafactor has it with relative steps
    halve_learning_rate(optimizer, None)
    assert optimizer.param_groups[0]["lr"] is None


@dataclass
class FakeMemory:
    """A device of 10 GiB whose use after each step is given; releasing frees ``waste`` bytes of it."""

    used: list[float]
    waste: int = 0
    step: int = 0
    released_at: list[int] = field(default_factory=list)
    _freed: int = 0

    def free_and_total(self) -> tuple[int, int]:
        return int((10 - self.used[self.step]) * GIBIBYTE) + self._freed, 10 * GIBIBYTE

    def release(self) -> None:
        self.released_at.append(self.step)
        self._freed = self.waste


class Steps(TrainerCallback):
    """Tells the fake memory which step it is, before the clean-up looks."""

    def __init__(self, memory: FakeMemory) -> None:
        self.memory = memory

    def on_step_end(self, args: Any, state: Any, control: Any, **kw: Any) -> None:
        self.memory.step, self.memory._freed = state.global_step, 0


def train_with(memory: FakeMemory, folder: Path) -> FakeMemory:
    steps = len(memory.used) - 1
    arguments = TrainingArguments(output_dir=str(folder), use_cpu=True, report_to=[], disable_tqdm=True,
                                  max_steps=steps, per_device_train_batch_size=1, save_strategy="no")  # fmt: skip
    rows = [{"x": torch.ones(1), "labels": torch.ones(1)}] * steps
    Trainer(Learner(), arguments, train_dataset=rows, callbacks=[Steps(memory), MemoryCleanup(memory)]).train()
    return memory


def test_memory_is_cleaned_up_every_50_steps(tmp_path: Path) -> None:
    assert train_with(FakeMemory([7.9] * 121), tmp_path).released_at == [50, 100]


def test_memory_is_cleaned_up_above_80_percent_at_most_every_10_steps(tmp_path: Path) -> None:
    used = [5.0] * 3 + [8.1] * 13 + [5.0] * 14 + [9.0] + [5.0] * 15 + [8.5] * 20
    assert train_with(FakeMemory(used), tmp_path).released_at == [3, 13, 30, 46, 50, 60]


@pytest.mark.parametrize(("waste", "said"), [(100 * MEBIBYTE, False), (101 * MEBIBYTE, True)])
def test_more_than_100_mb_freed_is_said(
    tmp_path: Path, waste: int, said: bool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("sidestep"), "propagate", True)
    caplog.set_level(logging.INFO)
    train_with(FakeMemory([5.0, 9.0], waste), tmp_path)
    assert ("freed 101 MiB of GPU memory at step 1" in caplog.text) is said


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a CUDA device")
def test_without_a_device_there_is_nothing_to_clean_up(tmp_path: Path) -> None:
    arguments = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to=[], disable_tqdm=True, max_steps=1)
    rows = [{"x": torch.ones(1), "labels": torch.ones(1)}]
    assert Trainer(Learner(), arguments, train_dataset=rows, callbacks=[MemoryCleanup()]).train().global_step == 1
