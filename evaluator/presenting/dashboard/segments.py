"""Packs what many checkpoints answered into few compressed pieces, so that a page with all of it stays small.

A segment holds up to SEGMENT_SIZE reports in the order in which they were finished. Answers to one case lie side by
side in it: checkpoints of one training answer alike, and deflate stores the second of two equal texts almost for free.
A full segment never changes again, so a new report costs packing the last segment, not all of them.

A segment has three parts. ``rows`` (statuses and scores) is needed for the first picture; ``answers`` (texts, checks)
only when somebody looks at a case; ``case_lists`` (which cases, how defined) goes into the page's data, once for all
segments that have the same.
"""

from __future__ import annotations

import base64
import hashlib
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sidestep.evaluator.cases.result import CaseResult, CaseStatus, CheckResult
from sidestep.evaluator.comparing.comparison import compared_score
from sidestep.evaluator.results.report import Report
from sidestep.shared.files import to_json_line

FORMAT = 2  # part of every key: a change of format packs everything anew
SEGMENT_SIZE = 8

STATUS_LETTERS = {
    CaseStatus.PASSED: "p",
    CaseStatus.FAILED: "f",
    CaseStatus.UNSCORED: "u",
    CaseStatus.EXPECTED_FAILURE: "e",
    CaseStatus.UNEXPECTED_PASS: "x",
}

CaseList = dict[str, list[str]]
"""The cases of a report as columns of equal length: ``ids``, ``names``, ``categories``, ``definitions`` (hashes)."""


@dataclass(frozen=True)
class Segment:
    """``rows`` and ``answers`` as base64 of deflated JSON (what a browser's DecompressionStream reads)."""

    key: str
    rows: str
    answers: str
    case_lists: dict[str, CaseList]
    """By the name that each member's row gives as its ``case_list``."""


def member_key(report: Report) -> str:
    """Names one evaluation for good: a forced rerun of the same checkpoint has another one."""
    identity = report.identity.id
    return hashlib.sha256(f"{identity}\n{report.timing.finished_at}".encode("utf-8", "replace")).hexdigest()[:24]


def segment_key(members: Sequence[str]) -> str:
    return hashlib.sha256("\n".join((str(FORMAT), *members)).encode()).hexdigest()[:32]


def pack_json(document: Any) -> str:
    """A JSON document, deflated, as base64: letters that can be anywhere in a page."""
    return base64.b64encode(zlib.compress(to_json_line(document), 6)).decode()


def pack(reports: Sequence[Report]) -> Segment:
    """One segment of these reports. Pure."""
    lists: dict[str, CaseList] = {}
    scores: dict[tuple[float | str | None, float | str | None], int] = {}
    members = []
    for report in reports:
        name, columns = _case_list(report.test_cases)
        lists.setdefault(name, columns)
        found = [(_json_number(case.score), _json_number(compared_score(case))) for case in report.test_cases]
        members.append(
            {
                "case_list": name,
                "statuses": "".join(STATUS_LETTERS[case.status] for case in report.test_cases),
                "scores": [scores.setdefault(score, len(scores)) for score in found],
            }
        )
    table = {"shown": [shown for shown, _ in scores], "compared": [compared for _, compared in scores]}
    return Segment(
        segment_key([member_key(report) for report in reports]),
        pack_json({"scores": table, "members": members}),
        pack_json(_answers(reports)),
        lists,
    )


def _case_list(cases: Sequence[CaseResult]) -> tuple[str, CaseList]:
    """The cases of a report as columns, and a name for exactly these."""
    columns = {
        "ids": [case.id for case in cases],
        "names": [case.name for case in cases],
        "categories": [case.category for case in cases],
        "definitions": [case.definition_hash for case in cases],
    }
    return hashlib.sha256(to_json_line(columns)).hexdigest()[:16], columns


def _json_number(value: float | None) -> float | str | None:
    """A score as JSON holds it; one that is not finite by the name that JavaScript reads."""
    if value is None or math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


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
        "checks": [[check.scorer, _decision(check), check.score, check.detail] for check in case.checks],
        "expected": case.expected_keywords,
        "found": case.keywords_found,
        "why": case.failure_reason,
        "finish": case.finish_reason,
        "tokens": case.output_tokens,
        "logprob": case.reference_logprob,
        "samples": [[sample.output, sample.passed, sample.score] for sample in case.samples],
    }
    return {name: value for name, value in facts.items() if value not in (None, "", (), [])}


def _decision(check: CheckResult) -> bool | None:
    """Whether a check passed; None where it could not be decided, and so has no score."""
    return None if check.score is None and not check.passed else check.passed
