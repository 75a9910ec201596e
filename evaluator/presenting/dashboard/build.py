"""Writes the dashboard: ``index.html``, and beside it what ``serve`` and the next build need.

Called whenever reports land, under the lock of the views. Only the last segment is packed anew; the rest is put
together from what earlier builds left.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from sidestep.evaluator.presenting.dashboard.cache import (
    VIEW_NAME,
    cache_folder,
    forget_others,
    keep_segment,
    read_segment,
)
from sidestep.evaluator.presenting.dashboard.page import page
from sidestep.evaluator.presenting.dashboard.segments import Segment, member_key, pack, packed, segment_key
from sidestep.evaluator.presenting.dashboard.view import Landed, in_landing_order, segments_of, view_document
from sidestep.evaluator.results.report import Report
from sidestep.evaluator.results.suites import kept_suites, read_suite
from sidestep.shared.files import read_bounded, replace_file, to_json_line
from sidestep.shared.protocol.layout import ReportsFolder

MAX_ADVICE_BYTES = 16 << 20


def write_dashboard(reports: ReportsFolder, stored: Sequence[Landed]) -> None:
    """Bring the dashboard up to date. Raises OSError when it cannot be written; the one before is then still there."""
    ordered = in_landing_order(stored)
    folder = cache_folder(reports)
    segments = [_segment(folder, members) for members in segments_of(ordered)]
    suites = _suites_in_use(reports, ordered)
    view = view_document(ordered, list(suites), _advice(reports))
    letters = packed(view)
    served = {"view": letters, "segments": [{"key": each.key, "rows": each.rows} for each in segments]}
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / VIEW_NAME, to_json_line(served))
    blocks = {"view": letters}
    blocks |= {f"rows-{each.key}": each.rows for each in segments}
    blocks |= {f"answers-{each.key}": each.answers for each in segments}
    blocks |= {f"suite-{name}": text for name, text in suites.items()}
    title = f"{view['expert']} {view['version']} · Sidestep".strip()
    replace_file(reports.dashboard, page(title, blocks))
    forget_others(folder, {each.key for each in segments})


def _advice(reports: ReportsFolder) -> Any:
    """What advice.json says now; nothing where there is none."""
    with suppress(OSError, orjson.JSONDecodeError):
        return orjson.loads(read_bounded(reports.advice, MAX_ADVICE_BYTES))
    return None


def _segment(folder: Path, members: Sequence[Report]) -> Segment:
    key = segment_key([member_key(report) for report in members])
    kept = read_segment(folder, key)
    if kept:
        return kept
    segment = pack(members)
    keep_segment(folder, segment)
    return segment


def _suites_in_use(reports: ReportsFolder, ordered: Sequence[Landed]) -> dict[str, str]:
    """Prompts of the suites that reports refer to, packed, by hash."""
    wanted = {each.report.identity.suite_hash for each in ordered}
    found = {name: read_suite(reports, name) for name in kept_suites(reports) if name in wanted}
    return {name: packed(document["cases"]) for name, document in found.items() if document and "cases" in document}
