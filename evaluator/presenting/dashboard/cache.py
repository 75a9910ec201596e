"""Packed pieces that are kept between two builds of the dashboard: ``training_reports/.dashboard/``.

A piece is named by what it was made from, so it is either right or not there; deleting the folder loses nothing.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

import orjson

from sidestep.evaluator.presenting.dashboard.segments import Segment
from sidestep.shared.files import read_bounded, replace_file, to_json_line
from sidestep.shared.protocol.layout import ReportsFolder

MAX_PIECE_BYTES = 1 << 30
PAGE_DATA_NAME = "page_data.json"
_EARLIER_NAMES = ("view.json",)  # what the page's data were called before; nothing reads them any more
_KEY = re.compile(r"[0-9a-f]{32}")


def cache_folder(reports: ReportsFolder) -> Path:
    return reports.root / ".dashboard"


def read_segment(folder: Path, key: str) -> Segment | None:
    """A segment packed earlier, or None."""
    if not _KEY.fullmatch(key):
        return None
    with suppress(OSError, orjson.JSONDecodeError, TypeError):
        return Segment(**orjson.loads(read_bounded(folder / f"{key}.json", MAX_PIECE_BYTES)))
    return None


def keep_segment(folder: Path, segment: Segment) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / f"{segment.key}.json", to_json_line(vars(segment)))


def remove_unused(folder: Path, keys: Collection[str]) -> None:
    """Remove what no page uses any more: all segments but these, and files of earlier versions."""
    for path in folder.glob("*.json"):
        if path.name in _EARLIER_NAMES or (_KEY.fullmatch(path.stem) and path.stem not in keys):
            with suppress(OSError):
                path.unlink()
