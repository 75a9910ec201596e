"""The Rust host's two ways in, as it uses them: a subprocess with a file, and embedded Python with a dictionary.

Either way is gone once from nothing, imports included; what else there is to see is seen in processes that have their
imports behind them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sidestep.shared.protocol.layout import ModelFolder
from sidestep.shared.protocol.outbox import held_entries
from tests.fakes.tiny_model import build_tiny_model
from tests.fakes.warm_process import TRAINER, run_training_script

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPT = REPOSITORY / "expert_trainer.py"
TIMEOUT_SECONDS = 300
HOST_ENVIRONMENT = {"PYTORCH_DISABLE_COMPILE": "1", "TORCH_COMPILE_DISABLE": "1", "HF_HUB_OFFLINE": "1"}
EMBEDDED = """
import json, sys
sys.path.insert(0, {path!r})
from expert_trainer import train_expert
train_expert(json.loads(sys.argv[1]))
"""


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_model(tmp_path_factory.mktemp("models") / "Tiny_1.0")


def _config(folder: Path, tiny_model: Path, **training: Any) -> dict[str, Any]:
    rows = [{"instruction": f"q {n}", "output": f"a {n}"} for n in range(16)]
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {
        "base_model_name": str(tiny_model), "quantization": "none", "dataset_path": str(folder / "train.jsonl"),
        "output_dir": str(folder / "weights"), "device": "cpu", "dataset": {"format": "jsonl"},
        "training": {
            "adapter_type": "lora", "rank": 4, "alpha": 8, "target_modules": ["q_proj", "v_proj"], "epochs": 0.5,
            "learning_rate": 1e-3, "batch_size": 2, "gradient_accumulation_steps": 1, "lr_scheduler": "cosine",
            "save_steps": 2, "save_total_limit": 1, "_comment": "x", **training,
        },
    }  # fmt: skip


def _run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A process from nothing, as the host starts it."""
    return subprocess.run(
        [sys.executable, *command], cwd=cwd, capture_output=True, text=True, check=False, timeout=TIMEOUT_SECONDS,
        env={**os.environ, **HOST_ENVIRONMENT},
    )  # fmt: skip


def _run_warm(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The same for expert_trainer.py, in a process that has its imports behind it."""
    environment = {**os.environ, **HOST_ENVIRONMENT}
    return run_training_script(SCRIPT, *arguments, folder=cwd, timeout=TIMEOUT_SECONDS, environment=environment)


def _check_what_a_training_leaves(done: subprocess.CompletedProcess[str], folder: Path, adapter_type: str) -> None:
    assert done.returncode == 0, done.stderr
    model = ModelFolder(folder / "weights" / "tiny-10")
    assert {"final", "adapter", "checkpoint-4"} <= {path.name for path in model.root.iterdir()}
    assert (model.root / "final" / "adapter_model.safetensors").is_file()
    held = held_entries(model)
    assert [entry.marker.step for entry in held] == [2, 4]
    assert held[0].marker.run.adapter_type == adapter_type


def test_subprocess(tmp_path: Path, tiny_model: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(_config(tmp_path, tiny_model)))
    done = _run(str(SCRIPT), "config.json", cwd=tmp_path)
    _check_what_a_training_leaves(done, tmp_path, "lora")


@pytest.mark.parametrize(
    "training",
    [
        {"adapter_type": "dora", "dropout": 0.1, "gradient_checkpointing": "selective"},
        {"adapter_type": "ia3", "rank": None, "alpha": None, "target_modules": ["k_proj", "down_proj"],
         "feedforward_modules": ["down_proj"]},
        {"adapter_type": "lokr", "evaluation_strategy": "steps", "load_best_model_at_end": True},
    ],
    ids=["dora", "ia3", "lokr"],
)  # fmt: skip
def test_other_kinds_of_training(tmp_path: Path, tiny_model: Path, training: dict[str, Any]) -> None:
    (tmp_path / "config.json").write_text(json.dumps(_config(tmp_path, tiny_model, **training)))
    done = _run_warm("config.json", cwd=tmp_path)
    _check_what_a_training_leaves(done, tmp_path, training["adapter_type"])


def test_embedded(tmp_path: Path, tiny_model: Path) -> None:
    config = _config(tmp_path, tiny_model, gradient_checkpointing_json="true")
    config |= {"expert_name": "shop", "expert_version": "2.0", "base_model": {"prompt_template": "chatml"}}
    done = _run("-c", EMBEDDED.format(path=str(REPOSITORY)), json.dumps(config), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    [marker] = {
        entry.marker.run.expert_version for entry in held_entries(ModelFolder(tmp_path / "weights" / "tiny-10"))
    }
    assert marker == "2.0"


def test_embedded_failure_is_an_exception_with_one_line(tmp_path: Path, tiny_model: Path) -> None:
    config = _config(tmp_path, tiny_model, target_modules=["nowhere"])
    done = TRAINER.run(
        "tests.fakes.fork_server:run_code", EMBEDDED.format(path=str(REPOSITORY)), argv=["-c", json.dumps(config)],
        folder=tmp_path, timeout=TIMEOUT_SECONDS,
    )  # fmt: skip
    assert done.returncode == 1
    assert "target_modules names modules that the model does not have: nowhere" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(("content", "reason"), [(None, "no such file"), ("{", "is not valid JSON")])
def test_bad_files_are_exit_1_and_one_clear_line(tmp_path: Path, content: str | None, reason: str) -> None:
    if content:
        (tmp_path / "config.json").write_text(content)
    done = _run(str(SCRIPT), "config.json", cwd=tmp_path)
    assert done.returncode == 1
    assert reason in done.stderr
    assert "Traceback" not in done.stderr


def test_resume_goes_on_from_the_newest_complete_checkpoint(tmp_path: Path, tiny_model: Path) -> None:
    config = _config(tmp_path, tiny_model, save_total_limit=None)
    (tmp_path / "config.json").write_text(json.dumps(config))
    first = _run_warm("config.json", "--max-steps", "4", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    model = ModelFolder(tmp_path / "weights" / "tiny-10")
    (model.checkpoint(4) / "adapter_model.safetensors").write_bytes(b"cut off by a crash")
    done = _run_warm("config.json", "--max-steps", "6", "--resume", "latest", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "checkpoint-4 is passed over" in done.stderr
    assert "training for 4 steps" in done.stderr
    assert {entry.marker.step for entry in held_entries(model)} == {2, 4, 6}
