"""What the dashboard shows of the reports, as one document. Pure; cases and answers are in segments of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from sidestep.evaluator.presenting.dashboard.segments import SEGMENT_SIZE, member_key, segment_key
from sidestep.evaluator.results.report import Report

SCHEMA_VERSION = 1
_LEFT_OUT = {"test_cases", "comparison", "schema_version", "timestamp"}  # in segments, or said twice


class Landed(Protocol):
    """A report, and whether a later one has taken its place (evaluator.results.store.StoredReport)."""

    @property
    def report(self) -> Report: ...

    @property
    def archived(self) -> bool: ...


def in_landing_order(stored: Sequence[Landed]) -> list[Landed]:
    """The order in which reports came to be; where a report lies now does not matter."""
    return sorted(stored, key=lambda each: (each.report.timing.finished_at, each.report.identity.id))


def segments_of(ordered: Sequence[Landed]) -> list[list[Report]]:
    """Which reports share a segment."""
    evaluated = [each.report for each in ordered if each.report.evaluated and each.report.test_cases]
    return [evaluated[start : start + SEGMENT_SIZE] for start in range(0, len(evaluated), SEGMENT_SIZE)]


def view_document(ordered: Sequence[Landed], suites: Sequence[str] = (), advice: Any = None) -> dict[str, Any]:
    """All that the page knows before somebody looks at a case.

    ``suites`` are the hashes of suites whose prompts are at hand, ``advice`` is what advice.json holds.
    """
    places: dict[str, tuple[str, int]] = {}
    for members in segments_of(ordered):
        keys = [member_key(report) for report in members]
        places |= {key: (segment_key(keys), number) for number, key in enumerate(keys)}
    newest = ordered[-1].report if ordered else None
    return {
        "schema_version": SCHEMA_VERSION,
        "expert": newest.expert_name if newest else "",
        "version": newest.expert_version if newest else "",
        "latest": newest.timing.finished_at if newest else "",
        "suites": list(suites),
        "advice": advice,
        "checkpoints": [_checkpoint(each, places) for each in ordered],
    }


def _checkpoint(stored: Landed, places: dict[str, tuple[str, int]]) -> dict[str, Any]:
    """One report without its cases, and where they are. Whatever else the report says is handed on as it is."""
    key = member_key(stored.report)
    segment, member = places.get(key, (None, None))
    document = stored.report.to_dict(leave_out=_LEFT_OUT)
    return {"key": key, "archived": stored.archived, "segment": segment, "member": member, **document}
