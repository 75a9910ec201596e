"""A command whose extra is not installed says in one line which one it is; publishing needs none of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sidestep.shared.commands.extras import MODULES, is_installed

REPOSITORY = Path(__file__).resolve().parents[4]


def run_without(absent: str, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.fakes.absent_packages", absent, *command],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("absent", "module", "line"),
    [
        ("trl", "sidestep.trainer", "sidestep-trainer: error: not installed: trl; pip install 'sidestep[trainer]'"),
        (
            "cyclopts,trl,peft",
            "sidestep.trainer",
            "sidestep-trainer: error: not installed: cyclopts, peft, trl; pip install 'sidestep[trainer]'",
        ),
        (
            "pydantic",
            "sidestep.evaluator",
            "sidestep-evaluator: error: not installed: pydantic; pip install 'sidestep[evaluator]'",
        ),
        ("trl", "sidestep", "sidestep: error: not installed: trl; pip install 'sidestep[all]'"),
        ("sqlglot", "sidestep", "sidestep: error: not installed: sqlglot; pip install 'sidestep[all]'"),
    ],
)
def test_a_command_names_its_extra_in_one_line(absent: str, module: str, line: str) -> None:
    done = run_without(absent, module, "--help")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", line + "\n")


def test_many_missing_packages_still_make_one_line() -> None:
    done = run_without(",".join(MODULES["evaluator"]), "sidestep.evaluator", "--help")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert f"and {len(MODULES['evaluator']) - 4} more; pip install 'sidestep[evaluator]'" in done.stderr


@pytest.mark.parametrize(
    ("absent", "module"), [("statsmodels,sqlglot,watchdog", "sidestep.trainer"), ("trl,xxhash", "sidestep.evaluator")]
)
def test_a_command_needs_nothing_of_the_other_role(absent: str, module: str) -> None:
    done = run_without(absent, module, "--help")
    assert done.returncode == 0, done.stderr


def test_a_module_without_a_spec_counts_as_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_installed("__main__")
    assert not is_installed("no_such_module_anywhere")
