"""What publishing needs of an environment: orjson, and what a training with transformers has anyway."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[4]

# Refuses every package that is not part of Python, not ours and not among those that are named.
REFUSING = """
import sys
from importlib.machinery import PathFinder

allowed = set(sys.argv[1].split(",")) | {"sidestep"}

class Refuse:
    @staticmethod
    def find_spec(name, path=None, target=None):
        top = name.partition(".")[0]
        if top in allowed or top in sys.stdlib_module_names or PathFinder.find_spec(top) is None:
            return None
        raise ImportError(f"{name} is not what publishing may need")

"""
TRANSFORMERS = "import transformers, torch, accelerate\nfrom transformers import Trainer, TrainerCallback\n"


def _run(code: str, *allowed: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", REFUSING + code, ",".join(allowed)], cwd=REPOSITORY, capture_output=True, text=True,
        check=False,
    )  # fmt: skip


def test_the_package_alone_needs_nothing_but_python() -> None:
    done = _run("sys.meta_path.insert(0, Refuse)\nimport sidestep\nprint(sidestep.__all__)")
    assert done.returncode == 0, done.stderr
    assert "PublishCheckpoint" in done.stdout


def test_publishing_needs_orjson_beyond_what_transformers_has_loaded() -> None:
    names = "FollowAdvice, LaunchOptions, OutboxLimits, PublishCheckpoint, RunDescription, SidestepError"
    publish = f"sys.meta_path.insert(0, Refuse)\nfrom sidestep import {names}\nPublishCheckpoint()\n"
    # Packages that transformers imports when they are first needed pass: they are there wherever it is.
    brought = ("transformers", "torch", "accelerate", "huggingface_hub", "filelock", "tqdm", "yaml", "packaging")
    done = _run(TRANSFORMERS + publish, "orjson", *brought)
    assert done.returncode == 0, done.stderr
    refused = _run(TRANSFORMERS + publish, *brought)
    assert "orjson is not what publishing may need" in refused.stderr


@pytest.mark.parametrize("package", ["pydantic", "typer", "rich"])
def test_a_planted_import_is_refused(package: str) -> None:
    done = _run(f"sys.meta_path.insert(0, Refuse)\nimport {package}", "orjson")
    assert f"{package} is not what publishing may need" in done.stderr
