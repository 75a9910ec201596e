"""A script whose own modules are called trainer, evaluator and shared, as ours are: each finds its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.tiny_model import build_tiny_model

REPOSITORY = Path(__file__).resolve().parents[2]
TIMEOUT_SECONDS = 300

SCRIPT = """
import sys
import evaluator, shared, trainer
from sidestep import LaunchOptions, PublishCheckpoint

assert evaluator.THEIRS and shared.THEIRS
publish = PublishCheckpoint(
    suite="test_cases.json", launch=True, evaluator=LaunchOptions(arguments=("--max-new-tokens", "4"))
)
trainer.train(sys.argv[1], publish)
assert evaluator.THEIRS and sys.modules["trainer"].THEIRS
"""
TRAINER = """
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainingArguments

THEIRS = True


def train(base_model, *callbacks):
    rows = [{"input_ids": [5, 6, 7, 8 + n], "labels": [5, 6, 7, 8 + n]} for n in range(20)]
    arguments = TrainingArguments(
        output_dir="out", max_steps=4, per_device_train_batch_size=1, save_steps=2, report_to=[], use_cpu=True,
        disable_tqdm=True,
    )
    Trainer(
        model=AutoModelForCausalLM.from_pretrained(base_model), args=arguments, train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(base_model), callbacks=list(callbacks),
    ).train()
"""
THEIRS = "THEIRS = True\n"
NOT_OURS = "raise ImportError('this sidestep.py is somebody else\\'s')\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder of scripts and, apart from it, the folder that they are run in."""
    files = {
        "scripts/train.py": SCRIPT, "scripts/trainer.py": TRAINER, "scripts/evaluator.py": THEIRS,
        "scripts/shared.py": THEIRS,
        "run/trainer.py": NOT_OURS, "run/evaluator.py": NOT_OURS, "run/shared.py": NOT_OURS,
        "run/sidestep.py": NOT_OURS,
        "run/test_cases.json": json.dumps(
            {"test_cases": [{"id": "a", "prompt": "hello", "expected_keywords": ["x"]}]}
        ),
    }  # fmt: skip
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
    build_tiny_model(tmp_path / "tiny")
    return tmp_path


def test_a_script_beside_modules_of_these_names_trains_and_has_every_checkpoint_evaluated(project: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(project / "scripts" / "train.py"), str(project / "tiny")], cwd=project / "run",
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
        timeout=TIMEOUT_SECONDS, check=False,
    )  # fmt: skip
    log = done.stdout + done.stderr
    assert done.returncode == 0, log
    outcomes = {
        path.parent.name: json.loads(path.read_text())["outcome"]
        for path in (project / "run" / "out" / "training_reports").glob("*/outcome.json")
    }
    assert outcomes == {"base": "evaluated", "checkpoint-2": "evaluated", "checkpoint-4": "evaluated"}, log
    assert "the evaluator has finished" in log
