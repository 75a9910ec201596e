"""The examples of other people's trainings do what they show: train, publish, and have every checkpoint evaluated."""

from __future__ import annotations

import ast
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import pytest

from tests.fakes.tiny_model import build_tiny_model
from tests.fakes.warm_process import run_training_script

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLES = REPOSITORY / "examples" / "training"
TIMEOUT_SECONDS = 300


class RunScript(Protocol):
    """Runs a script with arguments, in a folder, to its end."""

    def __call__(
        self, script: Path, *arguments: str, folder: Path, timeout: float, environment: Mapping[str, str] | None
    ) -> subprocess.CompletedProcess[str]: ...


def _run_from_nothing(
    script: Path, *arguments: str, folder: Path, timeout: float, environment: Mapping[str, str] | None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(script), *arguments], cwd=folder, capture_output=True, text=True, timeout=timeout,
        check=False, env=environment,
    )  # fmt: skip


@pytest.fixture(scope="module")
def base_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.mark.parametrize(
    ("name", "run"),
    [  # one from nothing; the others have their imports behind them
        pytest.param("plain_trainer", _run_from_nothing, id="plain_trainer"),
        *(pytest.param(name, run_training_script, id=name) for name in ("trl_sft", "trl_dpo", "trl_grpo")),
    ],
)
def test_runs_as_a_user_would_run_it(tmp_path: Path, base_model: Path, name: str, run: RunScript) -> None:
    suite = tmp_path / "test_cases.json"
    suite.write_text(json.dumps({"test_cases": [{"id": "a", "prompt": "hello", "expected_keywords": ["x"]}]}))
    done = run(
        EXAMPLES / f"{name}.py", "--base-model", str(base_model), "--output-dir", "out", "--suite", "test_cases.json",
        "--steps", "4", "--save-steps", "2", "--cpu", "--", "--max-new-tokens", "4",
        folder=tmp_path, timeout=TIMEOUT_SECONDS, environment={**os.environ, "OMP_NUM_THREADS": "1"},
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
