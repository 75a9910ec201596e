"""Preferences: TRL's DPOTrainer on real models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from trl import DPOTrainer

from sidestep.shared.protocol.checkpoint import check_complete
from tests.unit.trainer.conftest import history, write_rows

NOTHING: dict[str, Any] = {"rank": None, "alpha": None, "target_modules": None}


@pytest.mark.parametrize(
    "training",
    [
        {},
        {"adapter_type": "dora"},
        {"adapter_type": "ia3", "rank": None, "alpha": None, "learning_rate": 0.1},
        {"adapter_type": "lokr"},
        {"adapter_type": "full", **NOTHING},
        {"gradient_checkpointing": "selective"},
    ],
    ids=["lora", "dora", "ia3", "lokr", "full", "selective"],
)
def test_dpo_learns_to_prefer_the_chosen_answers(
    trained: Callable[..., Any], tmp_path: Path, training: dict[str, Any]
) -> None:
    rows = [{"prompt": f"question {n}", "chosen": "aaaa", "rejected": "zzzz"} for n in range(24)]
    top = {"dataset_path": str(write_rows(tmp_path / "pairs.jsonl", rows))}
    options = {"max_steps": 8, "learning_rate": 0.02, "save_strategy": "steps", "save_steps": 8, **training}
    _, done = trained(top, method="dpo", lr_scheduler="constant", **options)
    assert isinstance(done, DPOTrainer)
    margins = history(done, "rewards/margins")
    assert margins[0] == pytest.approx(0.0, abs=1e-5)  # the reference is the model as it was
    assert margins[-1] > 0.01
    assert history(done, "loss")[-1] < history(done, "loss")[0]
    check_complete(Path(done.args.output_dir) / "checkpoint-8")


def test_dpo_without_an_adapter_keeps_a_reference_that_is_not_trained(
    trained: Callable[..., Any], tmp_path: Path
) -> None:
    rows = [{"prompt": f"question {n}", "chosen": "aaaa", "rejected": "zzzz"} for n in range(8)]
    top = {"dataset_path": str(write_rows(tmp_path / "pairs.jsonl", rows))}
    _, done = trained(top, method="dpo", adapter_type="full", learning_rate=0.01, **NOTHING)
    pairs = zip(done.model.parameters(), done.ref_model.parameters(), strict=True)
    assert not any(torch.equal(trained.detach(), kept) for trained, kept in pairs)
