"""What has been sent where: ``training_reports/.exports/<destination>.json``.

With it, a restart sends nothing twice, and what failed is sent later: what is to be sent is always the reports minus
this file. It is written after a destination has accepted something; a process killed in between sends that once more.
"""

from __future__ import annotations

import uuid
from pathlib import Path

from pydantic import BaseModel, ValidationError

from sidestep.evaluator.exporting.points import Point
from sidestep.shared.files import read_bounded, replace_file, to_json
from sidestep.shared.logs import get_logger
from sidestep.shared.protocol.layout import ReportsFolder

MAX_LEDGER_BYTES = 256 << 20

log = get_logger("evaluator.export")


class SentRun(BaseModel):
    """One run: the id it has at the destination, and the metrics that were accepted, by step."""

    tracker_id: str
    sent: dict[int, dict[str, float]] = {}


class _Document(BaseModel):
    runs: dict[str, SentRun] = {}
    announced: list[str] = []


def ledger_folder(reports: ReportsFolder) -> Path:
    return reports.root / ".exports"


class Ledger:
    """The file of one destination; ``open`` reads it."""

    def __init__(self, path: Path, document: _Document) -> None:
        self._path = path
        self._document = document

    @classmethod
    def open(cls, reports: ReportsFolder, destination: str) -> Ledger:
        """What is known of a destination. A file that cannot be read is moved aside, and everything is sent again."""
        path = ledger_folder(reports) / f"{destination}.json"
        return cls(path, _read_document(path))

    def ensure_run(self, key: str) -> SentRun:
        """What is known of a run; a new one gets an id, which is kept before anything is sent under it."""
        if key not in self._document.runs:
            self._document.runs[key] = SentRun(tracker_id=uuid.uuid4().hex[:16])
            self._write()
        return self._document.runs[key]

    def record_accepted(self, key: str, points: list[Point]) -> None:
        """The destination has these points now."""
        for point in points:
            self._document.runs[key].sent.setdefault(point.step, {}).update(point.metrics)
        self._write()

    def was_announced(self, outcome_id: str) -> bool:
        return outcome_id in self._document.announced

    def record_announced(self, outcome_id: str) -> None:
        self._document.announced.append(outcome_id)
        self._write()

    def _write(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(self._path, to_json(self._document.model_dump(mode="json")))


def _read_document(path: Path) -> _Document:
    try:
        return _Document.model_validate_json(read_bounded(path, MAX_LEDGER_BYTES))
    except FileNotFoundError:
        return _Document()
    except ValidationError:
        aside = path.with_suffix(".unreadable")
        path.replace(aside)
        log.warning("%s cannot be read and was moved to %s: everything is sent again", path, aside.name)
        return _Document()
