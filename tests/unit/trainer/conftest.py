from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.tiny_model import build_tiny_model

ROWS = [
    {"text": f"<|system|>\nAnswer.\n<|end|>\n<|user|>\nquestion {n}\n<|end|>\n<|assistant|>\nanswer {n}\n<|end|>"}
    for n in range(24)
]


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


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
