"""Writes the dashboard: ``index.html``, and beside it what ``serve`` and the next build need.

Called whenever reports were committed, under the lock of the derived files. Only the last segment is packed anew; the
rest is put together from what earlier builds left.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import orjson
from pydantic import ValidationError

from sidestep.evaluator.comparing.advice import Advice
from sidestep.evaluator.presenting.dashboard.cache import (
    PAGE_DATA_NAME,
    cache_folder,
    keep_segment,
    read_segment,
    remove_unused,
)
from sidestep.evaluator.presenting.dashboard.page import page
from sidestep.evaluator.presenting.dashboard.page_data import page_data, segments_of, sort_by_time
from sidestep.evaluator.presenting.dashboard.segments import CaseList, Segment, member_key, pack, pack_json, segment_key
from sidestep.evaluator.results.report import Report
from sidestep.evaluator.results.store import StoredReport
from sidestep.evaluator.results.suites import kept_suites, read_suite
from sidestep.shared.files import read_bounded, replace_file, to_json_line
from sidestep.shared.protocol.layout import ReportsFolder

MAX_ADVICE_BYTES = 16 << 20


def write_dashboard(reports: ReportsFolder, stored: Sequence[StoredReport]) -> None:
    """Bring the dashboard up to date. Raises OSError when it cannot be written; the one before is then still there."""
    ordered = sort_by_time(stored)
    folder = cache_folder(reports)
    segments = [_load_segment(folder, members) for members in segments_of(ordered)]
    case_lists: dict[str, CaseList] = {}
    for segment in segments:
        case_lists |= segment.case_lists
    suites = _pack_suites(reports, ordered)
    data = page_data(ordered, case_lists, list(suites), _read_advice(reports))
    packed = pack_json(data)
    served = {"data": packed, "segments": [{"key": segment.key, "rows": segment.rows} for segment in segments]}
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / PAGE_DATA_NAME, to_json_line(served))
    blocks = {"page-data": packed}
    blocks |= {f"rows-{segment.key}": segment.rows for segment in segments}
    blocks |= {f"answers-{segment.key}": segment.answers for segment in segments}
    blocks |= {f"suite-{name}": text for name, text in suites.items()}
    title = f"{data['expert']} {data['version']} · Sidestep".strip()
    replace_file(reports.dashboard, page(title, blocks))
    remove_unused(folder, {segment.key for segment in segments})


def _read_advice(reports: ReportsFolder) -> Advice | None:
    """What advice.json says now; None where it does not say anything that can be read."""
    with suppress(OSError, orjson.JSONDecodeError, ValidationError):
        return Advice.from_dict(orjson.loads(read_bounded(reports.advice, MAX_ADVICE_BYTES)))
    return None


def _load_segment(folder: Path, members: Sequence[Report]) -> Segment:
    """A segment from an earlier build, else packed now and kept."""
    key = segment_key([member_key(report) for report in members])
    kept = read_segment(folder, key)
    if kept:
        return kept
    segment = pack(members)
    keep_segment(folder, segment)
    return segment


def _pack_suites(reports: ReportsFolder, ordered: Sequence[StoredReport]) -> dict[str, str]:
    """Prompts of the suites that reports refer to, packed, by hash."""
    wanted = {stored.report.identity.suite_hash for stored in ordered}
    found = {name: read_suite(reports, name) for name in kept_suites(reports) if name in wanted}
    return {name: pack_json(document["cases"]) for name, document in found.items() if document and "cases" in document}
