"""The examples of other people's trainings do what they show: train, publish, and have every checkpoint evaluated."""

from __future__ import annotations

import ast
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.tiny_model import build_tiny_model

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLES = REPOSITORY / "examples" / "training"
TIMEOUT_SECONDS = 300


@pytest.fixture(scope="module")
def base_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.mark.parametrize("name", ["plain_trainer", "trl_sft", "trl_dpo", "trl_grpo"])
def test_runs_as_a_user_would_run_it(tmp_path: Path, base_model: Path, name: str) -> None:
    suite = tmp_path / "test_cases.json"
    suite.write_text(json.dumps({"test_cases": [{"id": "a", "prompt": "hello", "expected_keywords": ["x"]}]}))
    done = subprocess.run(
        [
            sys.executable, str(EXAMPLES / f"{name}.py"), "--base-model", str(base_model), "--output-dir", "out",
            "--suite", "test_cases.json", "--steps", "4", "--save-steps", "2", "--cpu", "--", "--max-new-tokens", "4",
        ],
        cwd=tmp_path, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    outcomes = {
        path.parent.name: json.loads(path.read_text())["outcome"]
        for path in (tmp_path / "out" / "training_reports").glob("*/outcome.json")
    }
    assert outcomes == {"base": "evaluated", "checkpoint-2": "evaluated", "checkpoint-4": "evaluated"}, done.stderr


def test_unsloth_is_imported_first_and_what_is_called_of_ours_exists() -> None:
    """Unsloth needs a GPU, so its example does not run here: that it parses and names what there is, is checked."""
    tree = ast.parse((EXAMPLES / "unsloth_sft.py").read_text())
    modules = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    assert modules.index("unsloth") < modules.index("trl")
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in ("sidestep", "trl"):
            module = importlib.import_module(node.module)
            assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []
