"""The page's data: what the dashboard shows of all reports, as one document. Pure.

Everything that is decided is decided here, in `definitions` or in `presenting.lines`, by the functions that the reports
use; the page looks it up and compares numbers. What checkpoints answered is in segments of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sidestep.evaluator.cases.case import DEFAULT_CATEGORY
from sidestep.evaluator.cases.result import CaseStatus
from sidestep.evaluator.comparing.advice import Advice
from sidestep.evaluator.comparing.comparison import SCORE_MOVE
from sidestep.evaluator.presenting.dashboard.definitions import case_data
from sidestep.evaluator.presenting.dashboard.segments import (
    SEGMENT_SIZE,
    STATUS_LETTERS,
    CaseList,
    member_key,
    segment_key,
)
from sidestep.evaluator.presenting.lines import (
    Evaluations,
    Line,
    finished,
    headline_of,
    is_decided,
    lines_of,
    previous_of,
)
from sidestep.evaluator.results.counting import TestResults
from sidestep.evaluator.results.evidence import VerdictWord
from sidestep.evaluator.results.report import Report
from sidestep.evaluator.results.store import StoredReport

SCHEMA_VERSION = 2
# In segments, said in a form of our own below, or said twice.
_LEFT_OUT = {"test_cases", "test_results", "categories", "comparisons", "comparison", "schema_version", "timestamp"}
_LEFT_OUT_OF_COMPARISONS = {
    "new_failures", "fixed_failures", "improved_tests", "regressed_tests", "unexpected_passes", "expected_failures",
    "against_id", "against_version", "compared_cases", "score", "likelihood",
}  # fmt: skip
_VERDICTS = {
    VerdictWord.BETTER: {"text": "better", "tone": "good"},
    VerdictWord.WORSE: {"text": "worse", "tone": "bad"},
    VerdictWord.UNDECIDED: {"text": "no difference shown", "tone": ""},
}


def sort_by_time(stored: Sequence[StoredReport]) -> list[StoredReport]:
    """All reports in the order in which they were finished."""
    return sorted(stored, key=finished)


def segments_of(ordered: Sequence[StoredReport]) -> list[list[Report]]:
    """Which reports share a segment."""
    evaluated = [stored.report for stored in ordered if stored.report.evaluated and stored.report.test_cases]
    return [evaluated[start : start + SEGMENT_SIZE] for start in range(0, len(evaluated), SEGMENT_SIZE)]


def page_data(
    ordered: Sequence[StoredReport],
    case_lists: Mapping[str, CaseList],
    suites: Sequence[str] = (),
    advice: Advice | None = None,
) -> dict[str, Any]:
    """All that the page knows before somebody looks at a case.

    ``ordered`` are all reports by the time at which they were finished, ``case_lists`` those of all segments, in their
    order; ``suites`` are the hashes of suites whose prompts are at hand.
    """
    lines = lines_of(ordered, advice)
    newest = ordered[-1].report if ordered else None
    return {
        "schema_version": SCHEMA_VERSION,
        "expert": newest.expert_name if newest else "",
        "version": newest.expert_version if newest else "",
        "suites": list(suites),
        "statuses": [_status(status, letter) for status, letter in STATUS_LETTERS.items()],
        "score_move": SCORE_MOVE,
        "verdicts": {word.value: shown for word, shown in _VERDICTS.items()},
        **case_data(case_lists),
        "lines": [_line(line) for line in lines],
        "checkpoints": _checkpoints(ordered, lines),
    }


def _status(status: CaseStatus, letter: str) -> dict[str, Any]:
    """What a status means; ``letter`` stands for it in the segments."""
    passed = status is CaseStatus.PASSED
    return {"value": status.value, "letter": letter, "decided": status.is_decided, "passed": passed}


def _line(line: Line) -> dict[str, Any]:
    """A line by the keys of its checkpoints. ``columns`` are those with results, the base model's first."""
    headline = headline_of(line)
    columns = [*([line.base] if line.base else []), *line.evaluated]
    return {
        "key": line.name,
        "archived": line.archived,
        "checkpoints": [member_key(member.report) for member in line.members],
        "columns": [member_key(column.report) for column in columns],
        "base": _key(line.base),
        "best": _key(line.best),
        "last": _key(line.last),
        "advice": line.advice.to_dict() if line.advice else None,
        "headline": vars(headline) if headline else None,
    }


def _checkpoints(ordered: Sequence[StoredReport], lines: Sequence[Line]) -> list[dict[str, Any]]:
    evaluations = Evaluations(ordered)
    previous = {
        member_key(member.report): _key(previous_of(member, line, evaluations))
        for line in lines
        for member in line.evaluated
    }
    places = _places(ordered)
    return [_checkpoint(stored, places, previous, evaluations) for stored in ordered]


def _places(ordered: Sequence[StoredReport]) -> dict[str, tuple[str, int]]:
    """In which segment, and as which of its members, the answers of an evaluation are."""
    places: dict[str, tuple[str, int]] = {}
    for members in segments_of(ordered):
        keys = [member_key(report) for report in members]
        segment = segment_key(keys)
        places |= {key: (segment, number) for number, key in enumerate(keys)}
    return places


def _checkpoint(
    stored: StoredReport,
    places: Mapping[str, tuple[str, int]],
    previous: Mapping[str, str | None],
    evaluations: Evaluations,
) -> dict[str, Any]:
    """One report without its cases, and where they are. What is not put in words of ours is taken over as it is."""
    report = stored.report
    key = member_key(report)
    segment, member = places.get(key, (None, None))
    return {
        **report.to_dict(leave_out=_LEFT_OUT),
        "key": key,
        "label": "base" if report.step is None else str(report.step),
        "archived": stored.archived,
        "evaluated": report.evaluated,
        "segment": segment,
        "member": member,
        "previous": previous.get(key),
        **_rate(report),
        "categories": [_category(name, counts) for name, counts in report.categories.items()],
        "comparisons": {
            name: {
                "key": _key(evaluations.compared_with(entry)),
                **entry.to_dict(leave_out=_LEFT_OUT_OF_COMPARISONS),
            }
            for name, entry in report.comparisons.items()
        },
    }


def _rate(report: Report) -> dict[str, Any]:
    """The rate by which checkpoints are ranked, its interval, and the counts; no rate where nothing was decided."""
    counts = report.test_results
    interval = counts.interval_of_rate
    return {
        "rate": counts.rate if is_decided(report) else None,
        "interval": [interval.low, interval.high] if interval else None,
        "passed": counts.passed,
        "decided": counts.passed + counts.failed,
    }


def _category(name: str, counts: TestResults) -> dict[str, Any]:
    decided = counts.passed + counts.failed
    return {
        "name": name or DEFAULT_CATEGORY,
        "rate": counts.success_rate if decided else None,
        "passed": counts.passed,
        "decided": decided,
    }


def _key(stored: StoredReport | None) -> str | None:
    return member_key(stored.report) if stored else None
