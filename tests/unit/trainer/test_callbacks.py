"""Memory clean-up and overfitting monitor, with real optimizers and schedules."""

from __future__ import annotations

import pytest
import torch
from transformers import TrainerControl, TrainerState, TrainingArguments, get_scheduler

from trainer.callbacks import MemoryCleanup, OverfittingMonitor, halve_learning_rate


@pytest.mark.parametrize(
    ("step", "share", "due"), [(50, 0.1, True), (7, 0.5, False), (7, 0.9, True), (100, 0.9, True), (0, 0.0, True)]
)
def test_memory_cleanup_is_due(step: int, share: float, due: bool) -> None:
    assert MemoryCleanup().is_due(step, share) is due


def test_memory_cleanup_above_the_share_at_most_every_ten_steps() -> None:
    cleanup = MemoryCleanup()
    cleanup._last = 11
    assert not cleanup.is_due(20, 0.9)
    assert cleanup.is_due(21, 0.9)


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant", "constant_with_warmup", "polynomial"])
def test_the_halved_rate_lasts(schedule: str) -> None:
    def rates(halve_at: int | None) -> list[float]:
        parameter = torch.nn.Parameter(torch.zeros(1))
        optimizer = torch.optim.AdamW([parameter], lr=1e-3)
        scheduler = get_scheduler(schedule, optimizer, num_warmup_steps=2, num_training_steps=20)
        seen = []
        for step in range(12):
            if step == halve_at:
                halve_learning_rate(optimizer, scheduler)
            parameter.grad = torch.ones(1)
            optimizer.step()
            scheduler.step()
            seen.append(optimizer.param_groups[0]["lr"])
        return seen

    whole, halved = rates(None), rates(5)
    assert halved[:5] == whole[:5]
    if schedule == "polynomial":  # recomputed from the optimizer's initial rate towards a fixed end
        assert all(half < full for half, full in zip(halved[5:], whole[5:], strict=True))
    else:
        assert halved[5:] == pytest.approx([rate / 2 for rate in whole[5:]])


@pytest.mark.parametrize(
    ("train_loss", "eval_loss", "halved"), [(0.2, 0.3, True), (0.2, 0.23, False), (0.4, 0.9, False)]
)
def test_overfitting_monitor_halves_once(train_loss: float, eval_loss: float, halved: bool) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    monitor, state = OverfittingMonitor(), TrainerState(log_history=[{"loss": train_loss}])
    for _ in range(2):
        monitor.on_evaluate(
            TrainingArguments(output_dir="unused", use_cpu=True), state, TrainerControl(),
            metrics={"eval_loss": eval_loss}, optimizer=optimizer, lr_scheduler=None,
        )  # fmt: skip
    assert optimizer.param_groups[0]["lr"] == (0.5 if halved else 1.0)
