"""Preferences: TRL's DPOTrainer on real models."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from packaging.version import Version
from trl import DPOTrainer

from sidestep.shared.errors import ConfigError
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


def test_dpo_with_an_adapter_on_the_output_layer_is_trained_or_refused_in_one_line(
    trained: Callable[..., Any], tmp_path: Path
) -> None:
    """TRL refuses it since 1.16: its losses multiply by the layer's own weight."""
    rows = [{"prompt": f"question {n}", "chosen": "aaaa", "rejected": "zzzz"} for n in range(8)]
    top = {"dataset_path": str(write_rows(tmp_path / "pairs.jsonl", rows))}
    options = {"target_modules": ["q_proj", "lm_head"], "max_steps": 2, "learning_rate": 0.1}
    if Version(version("trl")) < Version("1.15"):
        _, done = trained(top, method="dpo", **options)
        assert done.model.base_model.model.lm_head.lora_B["default"].weight.abs().sum() > 0
    else:
        with pytest.raises(ConfigError, match=r"dpo with an adapter on lm_head.*target_modules"):
            trained(top, method="dpo", **options)
