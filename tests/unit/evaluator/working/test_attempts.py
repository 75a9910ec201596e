"""Finished cases and failures outlive the process that kept them."""

from __future__ import annotations

from pathlib import Path

from sidestep.evaluator.cases.result import CaseResult, CaseStatus, CheckResult
from sidestep.evaluator.working.attempts import count_finished_cases, open_attempt
from sidestep.shared.protocol.identity import CheckpointKey, Identity
from sidestep.shared.protocol.layout import ReportsFolder

RESULT = CaseResult(
    id="a", name="name", category="c", status=CaseStatus.FAILED, score=0.0, output="out\ud800",
    checks=(CheckResult("exact", False, 0.0, "x"),), expected_keywords=("k",),
)  # fmt: skip


def test_attempts_keep_cases_and_count_failures(tmp_path: Path) -> None:
    reports, identity = ReportsFolder(tmp_path), Identity(CheckpointKey("m", 1, "h"), "s", "d")
    with open_attempt(reports, identity) as attempt:
        attempt.add(RESULT)
        assert attempt.record_failure("x") == 1
    [file] = (tmp_path / ".attempts" / identity.id).glob("cases-*.jsonl")
    file.write_bytes(file.read_bytes() + b'{"id": "torn')
    with open_attempt(reports, identity) as again:
        assert list(again.finished) == ["a"]
        assert again.finished["a"].output == "out?"
        assert again.failures == 1
    assert count_finished_cases(reports, identity) == 1
    with open_attempt(reports, identity, fresh=True) as fresh:
        assert (fresh.finished, fresh.failures) == ({}, 0)
        fresh.forget()
    assert not reports.attempts.exists()
