"""A new version of an expert while its evaluator runs, older reports compressed: with a table for a model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.fakes.expert import TIMEOUT_SECONDS, FakeExpert, read_until


@pytest.fixture
def expert(tmp_path: Path) -> FakeExpert:
    return FakeExpert.create(tmp_path / "expert", cases=12)


def _places(expert: FakeExpert, name: str) -> list[str]:
    return sorted(str(path.parent.relative_to(expert.reports.root)) for path in expert.reports.root.rglob(name))


def test_the_version_changes_while_the_evaluator_runs(expert: FakeExpert) -> None:
    expert.script(answers={"20": {f"case-{n}": str(10 * n) for n in range(1, 13)}})
    expert.publish(10, 20, 30)
    process = expert.start("watch", "--poll-seconds", "0.1")
    read_until(process, "checkpoint-10: 1 of 12 passed")
    expert.manifest(version="0.2.0")
    expert.publish(10, salt=1, version="0.2.0")
    read_until(process, "checkpoint-10: 1 of 12 passed")
    process.terminate()
    process.communicate(timeout=TIMEOUT_SECONDS)
    old = "archive/0.1.0/tiny"
    assert [place for place in _places(expert, "report.json") if place != "base"] == [
        f"{old}/checkpoint-10", f"{old}/checkpoint-20", f"{old}/checkpoint-30", "checkpoint-10"
    ]  # fmt: skip
    comparisons = expert.report("checkpoint-10")["comparisons"]
    assert comparisons["previous_version"]["against"] == "checkpoint-30"
    assert comparisons["previous_version_best"]["against"] == "checkpoint-20"
    assert comparisons["previous_version_best"]["new_failures"] == [f"case-{n}" for n in range(2, 13)]
    assert comparisons["previous_version_best"]["verdict"]["word"] == "worse"
    expert.run("gate", code=3)  # what users have now is better
    expert.run("compare", "0.1.0", "0.2.0")


def test_kept_reports_are_read_by_every_command(expert: FakeExpert) -> None:
    expert.manifest(evaluation={"keep_reports": 1})
    expert.publish(10, 20, 30)
    expert.run("watch", "--once")
    assert _places(expert, "report.json.gz") == ["checkpoint-10", "checkpoint-20"]
    history = json.loads(expert.reports.comparison.read_text())
    assert [len(case["results"]) for case in history["cases"].values()] == [4] * 12
    assert "case-1" in expert.run("compare", "10", "20").stdout
    assert json.loads(expert.run("status", "--json").stdout)["checkpoints"]
    expert.run("gate", "--checkpoint", "10", "--against", "base")
    expert.manifest(evaluation={"keep_reports": "some"})
    assert "evaluation.keep_reports is not a number" in expert.run("watch", "--once", code=1).stderr
