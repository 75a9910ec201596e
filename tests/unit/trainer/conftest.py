from __future__ import annotations

import gc
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import sidestep.trainer.trainer as trainer_module
from sidestep.trainer import objectives
from sidestep.trainer.config import TrainingConfig
from sidestep.trainer.config_reading import from_host
from tests.fakes.tiny_model import build_tiny_model

ROWS = [
    {"text": f"<|system|>\nAnswer.\n<|end|>\n<|user|>\nquestion {n}\n<|end|>\n<|assistant|>\nanswer {n}\n<|end|>"}
    for n in range(24)
]


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session", autouse=True)
def _libraries_are_not_searched_for_garbage() -> None:
    """A Trainer collects garbage when it begins, and most of the time of a short training would go into that."""
    gc.collect()
    gc.freeze()


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def host_config(tmp_path: Path, tiny_model: Path) -> Callable[..., dict[str, Any]]:
    """The host's configuration for a short training; keyword arguments change its ``training`` block."""

    def build(**training: Any) -> dict[str, Any]:
        return {
            "base_model_name": str(tiny_model),
            "quantization": "none",
            "dataset_path": str(write_rows(tmp_path / "data" / "train.jsonl", ROWS)),
            "output_dir": str(tmp_path / "weights"),
            "device": "cpu",
            "training": {
                "adapter_type": "lora", "rank": 4, "alpha": 8, "target_modules": ["q_proj", "v_proj"], "epochs": 1.0,
                "learning_rate": 1e-3, "batch_size": 2, "gradient_accumulation_steps": 1, "lr_scheduler": "linear",
                "save_steps": 2, "logging_steps": 1, "max_seq_length": 128, **training,
            },
            "dataset": {"format": "jsonl"},
        }  # fmt: skip

    return build


@pytest.fixture
def trained(
    host_config: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[TrainingConfig, Any]]:
    """Runs a whole training and gives the configuration and the Trainer that did it; ``top`` changes other blocks."""
    made: list[Any] = []
    build = objectives.build_trainer

    def remember(*args: Any) -> Any:
        made.append(build(*args))
        return made[-1]

    monkeypatch.setattr(trainer_module, "build_trainer", remember)
    # transformers leaves the compiler's settings in the environment, for all who come after.
    for name in ("ACCELERATE_DYNAMO_BACKEND", "ACCELERATE_DYNAMO_MODE"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)

    def run(top: dict[str, Any] | None = None, **training: Any) -> tuple[TrainingConfig, Any]:
        config = from_host({**host_config(**{"max_steps": 2, "save_strategy": "no", **training}), **(top or {})})
        trainer_module.train(config)
        return config, made[-1]

    return run


def history(done: Any, name: str) -> list[float]:
    """What a Trainer logged under ``name``, in order."""
    return [row[name] for row in done.state.log_history if name in row]


def weights_of(done: Any) -> torch.Tensor:
    """All that a Trainer trained, in one tensor."""
    return torch.cat([weights.detach().flatten() for weights in done.model.parameters() if weights.requires_grad])
