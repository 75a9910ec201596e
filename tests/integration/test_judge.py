"""A suite with a judge, as a user runs it: real processes, a judge on loopback, and no second question in a rerun."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.expert import FakeExpert
from tests.fakes.judge import KEY, judge_endpoint, says


def _suite(expert: FakeExpert) -> None:
    rubric = {"scorer": "judge", "rubric": "names the step"}
    rows: list[dict[str, Any]] = [
        {"id": f"case-{n}", "prompt": f"say {n}", "checks": [rubric, {"scorer": "contains", "values": [str(10 * n)]}]}
        for n in (1, 2, 3)
    ]
    (expert.root / "tests" / "test_cases.json").write_text(json.dumps(rows))


def test_judged_and_compared_with_the_other_checks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expert = FakeExpert.create(tmp_path / "expert")
    _suite(expert)
    expert.publish(10)
    refused = expert.run("watch", "--once", code=1)
    assert "SIDESTEP_JUDGE_URL is not set" in refused.stderr and "Traceback" not in refused.stderr
    with judge_endpoint() as fake:
        for name, value in {"URL": fake.url, "MODEL": "wise-1", "KEY": KEY, "CACHE": str(tmp_path / "kept")}.items():
            monkeypatch.setenv(f"SIDESTEP_JUDGE_{name}", value)
        # right about case 1, wrong about case 2, silent about case 3
        about = {"say 1": (200, says(True)), "say 2": (200, says(True)), "say 3": (401, "no")}
        fake.reply = lambda question: about[question["conversation"][0]["content"]]
        first = expert.run("watch", "--once")
        report = expert.report("checkpoint-10")
        statuses = {case["id"]: case["status"] for case in report["test_cases"]}
        assert statuses == {"case-1": "passed", "case-2": "failed", "case-3": "failed"}
        assert report["judge"]["judge"].startswith(f"wise-1 at {fake.url}")
        counts = {key: report["judge"][key] for key in ("judged", "undecided", "compared", "agreed", "agreement")}
        assert counts == {"judged": 2, "undecided": 1, "compared": 2, "agreed": 1, "agreement": 0.5}
        assert "on 1 of 2 cases" in (expert.reports.root / "checkpoint-10" / "report.md").read_text()
        asked = len(fake.asked)
        expert.run("rerun", "--force", "--checkpoints", "10")
        again = [
            json.loads(question["messages"][1]["content"])["conversation"][0]["content"]
            for question in fake.asked[asked:]
        ]
    assert set(again) == {"say 3"}  # what has a grade is not asked again
    written = [path.read_text(errors="replace") for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(KEY in text for text in [first.stdout, first.stderr, *written])
