"""The project's pins and the extra sidestep[unsloth] agree: a resolver finds a solution with both, metadata only."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]


def _resolver() -> str:
    beside = Path(sys.executable).parent / "uv"
    found = str(beside) if beside.is_file() else shutil.which("uv")
    assert found, "uv is missing: make setup installs it"
    return found


def test_pins_and_the_unsloth_extra_have_a_common_solution() -> None:
    done = subprocess.run(
        [
            _resolver(), "pip", "compile", "pyproject.toml", "--extra", "all", "--extra", "unsloth",
            "--constraint", "constraints.txt",
            "--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_28", "--no-python-downloads",
            "--no-header", "--no-annotate", "--quiet",
        ],
        cwd=PROJECT, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    if done.returncode and re.search(r"dns error|Connect|timed out|error sending request|offline", done.stderr):
        pytest.skip("no package index can be reached, so nothing can be resolved")
    assert done.returncode == 0, done.stderr
    solution = dict(line.split("==") for line in done.stdout.split() if "==" in line)
    pins = dict(
        line.split(";")[0].strip().split("==")
        for line in (PROJECT / "constraints.txt").read_text().splitlines()
        if "==" in line and not line.startswith("#") and "python_version < " not in line
    )
    # Unsloth is taken as new as the pins allow; an old one would mean that a pin holds it back.
    assert solution["unsloth"] == solution["unsloth-zoo"]
    assert solution["unsloth"] >= "2026.10.9"
    for name in ("torch", "transformers", "trl", "peft", "datasets", "accelerate", "bitsandbytes"):
        assert solution[name] == pins[name], f"{name} is pinned to {pins[name]}, Unsloth takes {solution[name]}"
