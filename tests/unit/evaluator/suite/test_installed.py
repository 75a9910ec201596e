"""Scorers of an installed package: found by entry point, part of the suite's hash, and never fatal."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidestep.evaluator.suite.loading import load_suite
from sidestep.evaluator.suite.scorers import Context
from sidestep.evaluator.suite.scoring import run_check

MODULE = """
def polite(answer, words=()):
    return (len([word for word in words if word in answer]) / len(words), "counted")

def broken(answer):
    raise RuntimeError("no")

def wrong(answer):
    return 7
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "polite_scorers.py").write_text(MODULE)
    about = tmp_path / "polite_scorers-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: polite-scorers\nVersion: 1.0\n")
    points = "".join(f"{name} = polite_scorers:{name}\n" for name in ("polite", "broken", "wrong"))
    (about / "entry_points.txt").write_text(f"[sidestep.scorers]\n{points}")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path / "polite_scorers.py"
    sys.modules.pop("polite_scorers", None)


def _write(folder: Path, **check: object) -> Path:
    path = folder / "s.json"
    path.write_text(json.dumps([{"id": "a", "prompt": "x", "checks": [{"scorer": "python", **check}]}]))
    return path


def test_an_installed_scorer(package: Path, tmp_path: Path) -> None:
    suite = load_suite(_write(tmp_path, name="polite", parameters={"words": ["please", "thanks"]}))
    assert "polite_scorers" not in sys.modules  # loading a suite runs nothing
    assert suite.cases[0].checks[0].parameters["installed"].startswith("polite-scorers 1.0 ")
    results = [
        run_check(suite.cases[0].checks[0], answer, Context(tmp_path)) for answer in ("please, thanks", "please")
    ]
    assert [(result.passed, result.score) for result in results] == [(True, 10.0), (False, 5.0)]
    package.write_text(MODULE + "\n# changed\n")
    assert load_suite(tmp_path / "s.json").sha256 != suite.sha256


@pytest.mark.parametrize("name", ["broken", "wrong"])
def test_one_that_fails_fails_its_check(package: Path, tmp_path: Path, name: str) -> None:
    suite = load_suite(_write(tmp_path, name=name))
    result = run_check(suite.cases[0].checks[0], "x", Context(tmp_path))
    assert (result.passed, result.detail[:16]) == (False, "cannot be scored")


def test_one_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert "no scorer nothing is installed" in load_suite(_write(tmp_path, name="nothing")).warnings[0]
