"""When checkpoints are saved and validated, which is the best, and how a training goes on from one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.unit.trainer.conftest import ROWS, history, weights_of, write_rows

Train = Callable[..., Any]


def _saved(done: Any) -> list[int]:
    names = [path.name for path in Path(done.args.output_dir).glob("checkpoint-*")]
    return sorted(int(name.rpartition("-")[2]) for name in names)


@pytest.mark.parametrize(
    ("training", "steps"),
    [
        ({"save_strategy": "steps", "save_steps": 2}, [2, 4, 5]),
        ({"save_strategy": "steps", "save_steps": 2, "save_total_limit": 1}, [5]),
        ({"save_strategy": "no"}, []),
        ({"save_strategy": "epoch", "batch_size": 8}, [3, 5]),
    ],
)
def test_save_strategy_steps_and_limit(trained: Train, training: dict[str, Any], steps: list[int]) -> None:
    _, done = trained(**training, max_steps=5)
    assert _saved(done) == steps


@pytest.mark.parametrize(
    ("training", "steps"),
    [
        ({"evaluation_strategy": "steps", "eval_steps": 2}, [2, 4, 5]),  # and at the end
        ({"evaluation_strategy": "steps", "save_steps": 3}, [3, 5]),
        ({"evaluation_strategy": "epoch", "batch_size": 8}, [3, 5]),
        ({"evaluation_strategy": "no"}, []),
    ],
)
def test_evaluation_strategy_and_steps(trained: Train, training: dict[str, Any], steps: list[int]) -> None:
    _, done = trained(**training, max_steps=5)
    assert [row["step"] for row in done.state.log_history if "eval_loss" in row] == steps


@pytest.mark.parametrize(
    ("training", "best"),
    [
        ({}, min),
        ({"metric_for_best_model": "eval_loss", "greater_is_better": False}, min),
        ({"metric_for_best_model": "eval_loss", "greater_is_better": True}, max),
        ({"metric_for_best_model": "eval_mean_token_accuracy"}, max),
    ],
)
def test_the_best_model_is_what_is_left_in_the_end(trained: Train, training: dict[str, Any], best: Any) -> None:
    _, done = trained(
        **training, load_best_model_at_end=True, evaluation_strategy="steps", save_strategy="steps", save_steps=1,
        max_steps=4, learning_rate=0.5, lr_scheduler="constant",
    )  # fmt: skip
    name = training.get("metric_for_best_model", "eval_loss")
    values = history(done, name)
    assert len(set(values)) > 1
    chosen = Path(done.state.best_model_checkpoint)
    assert chosen.name == f"checkpoint-{values.index(best(values)) + 1}"
    final = (chosen.parent / "final" / "adapter_model.safetensors").read_bytes()
    assert final == (chosen / "adapter_model.safetensors").read_bytes()


def test_test_data_is_evaluated_once_at_the_end(trained: Train, tmp_path: Path) -> None:
    _, done = trained({"test_path": str(write_rows(tmp_path / "test.jsonl", ROWS[:3]))})
    assert len(history(done, "test_loss")) == 1


def test_resume_goes_on_with_step_optimizer_and_rate(trained: Train, tmp_path: Path) -> None:
    training = {"max_steps": 6, "save_strategy": "steps", "save_steps": 3, "learning_rate": 0.02}
    _, whole = trained(**training)
    _, rest = trained(**training, resume_checkpoint=str(Path(whole.args.output_dir) / "checkpoint-3"))
    assert [row["step"] for row in rest.state.log_history if "loss" in row] == [1, 2, 3, 4, 5, 6]
    assert torch.allclose(weights_of(rest), weights_of(whole), atol=1e-6)


def test_name_version_and_base_model_reach_the_marker(trained: Train, tiny_model: Path) -> None:
    _, done = trained({"expert_name": "shop", "expert_version": "3"}, save_strategy="steps", save_steps=2)
    marker = json.loads((Path(done.args.output_dir) / "checkpoint-2" / "READY.json").read_text())
    assert (marker["expert_name"], marker["expert_version"], marker["adapter_type"]) == ("shop", "3", "lora")
    assert marker["base_model"] == str(tiny_model)


def test_a_full_models_checkpoint_is_whole(trained: Train) -> None:
    _, done = trained(
        adapter_type="full", rank=None, alpha=None, target_modules=None, save_strategy="steps", save_steps=2
    )
    folder = Path(done.args.output_dir) / "checkpoint-2"
    assert not (folder / "adapter_config.json").exists()
    saved = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).state_dict()
    assert all(torch.equal(saved[name], weights) for name, weights in done.model.state_dict().items())
