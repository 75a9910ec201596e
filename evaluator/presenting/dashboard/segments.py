"""Packs what many checkpoints answered into few compressed pieces, so that a page with all of it stays small.

A segment holds up to SEGMENT_SIZE reports in the order in which they landed. Answers to one case lie side by side in
it: checkpoints of one training answer alike, and deflate stores the second of two equal texts almost for free. A full
segment never changes again, so a report that lands costs packing the last segment, not all of them.

A segment has two parts. ``rows`` (verdicts and scores) is needed for the first picture; ``answers`` (texts, checks)
only when somebody looks at a case.
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sidestep.evaluator.cases.result import CaseResult, CaseStatus
from sidestep.evaluator.results.report import Report
from sidestep.shared.files import to_json_line

FORMAT = 1  # part of every key: a change of format packs everything anew
SEGMENT_SIZE = 8

STATUS_LETTERS = {
    CaseStatus.PASSED: "p",
    CaseStatus.FAILED: "f",
    CaseStatus.UNSCORED: "u",
    CaseStatus.EXPECTED_FAILURE: "e",
    CaseStatus.UNEXPECTED_PASS: "x",
}


@dataclass(frozen=True)
class Segment:
    """Both parts as base64 of deflated JSON (what a browser's DecompressionStream reads)."""

    key: str
    rows: str
    answers: str


def member_key(report: Report) -> str:
    """Names one evaluation for good: a forced rerun of the same checkpoint has another one."""
    identity = report.identity.id
    return hashlib.sha256(f"{identity}\n{report.timing.finished_at}".encode("utf-8", "replace")).hexdigest()[:24]


def segment_key(members: Sequence[str]) -> str:
    return hashlib.sha256("\n".join((str(FORMAT), *members)).encode()).hexdigest()[:32]


def packed(document: Any) -> str:
    """A JSON document, deflated, as base64: letters that can stand anywhere in a page."""
    return base64.b64encode(zlib.compress(to_json_line(document), 6)).decode()


def pack(reports: Sequence[Report]) -> Segment:
    """One segment of these reports. Pure."""
    suites: dict[str, dict[str, list[Any]]] = {}
    members = []
    for report in reports:
        key, columns = _suite_columns(report)
        suites.setdefault(key, columns)
        members.append({"suite": key, **_row(report.test_cases)})
    return Segment(
        segment_key([member_key(report) for report in reports]),
        packed({"suites": suites, "members": members}),
        packed(_answers(reports)),
    )


def _suite_columns(report: Report) -> tuple[str, dict[str, list[Any]]]:
    """The cases of a report as columns, and a name for exactly these."""
    cases = report.test_cases
    columns: dict[str, list[Any]] = {
        "ids": [case.id for case in cases],
        "names": [case.name for case in cases],
        "categories": [case.category for case in cases],
        "definitions": [case.definition_hash[:12] for case in cases],
        "weights": [case.weight for case in cases],
    }
    return hashlib.sha256(to_json_line(columns)).hexdigest()[:16], columns


def _row(cases: Sequence[CaseResult]) -> dict[str, Any]:
    """A letter for each case's status; its score in tenths, -1 for none."""
    return {
        "statuses": "".join(STATUS_LETTERS[case.status] for case in cases),
        "scores": [-1 if case.score is None else round(10 * case.score) for case in cases],
    }


def _answers(reports: Sequence[Report]) -> dict[str, Any]:
    """``outputs[case][member]`` and ``details[case][member]``; None where the member has no such case."""
    order = dict.fromkeys(case.id for report in reports for case in report.test_cases)
    by_member = [{case.id: case for case in report.test_cases} for report in reports]
    found = [[cases.get(name) for cases in by_member] for name in order]
    return {
        "cases": list(order),
        "outputs": [[case.output if case else None for case in row] for row in found],
        "details": [[_details(case) if case else None for case in row] for row in found],
    }


def _details(case: CaseResult) -> dict[str, Any]:
    """What a case's page shows beside its answer; what is not there is left out."""
    facts = {
        "checks": [[check.scorer, check.passed, check.score, check.detail] for check in case.checks],
        "expected": case.expected_keywords,
        "found": case.keywords_found,
        "why": case.failure_reason,
        "finish": case.finish_reason,
        "tokens": case.output_tokens,
        "logprob": case.reference_logprob,
        "samples": [[each.output, each.passed, each.score] for each in case.samples],
    }
    return {name: value for name, value in facts.items() if value not in (None, "", (), [])}
