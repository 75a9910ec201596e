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
    """The file of one destination. One that cannot be read is put aside, and everything is sent again."""

    def __init__(self, reports: ReportsFolder, destination: str) -> None:
        self._path = ledger_folder(reports) / f"{destination}.json"
        self._document = self._read()

    def run(self, key: str) -> SentRun:
        """What is known of a run; a new one gets an id, which is kept before anything is sent under it."""
        if key not in self._document.runs:
            self._document.runs[key] = SentRun(tracker_id=uuid.uuid4().hex[:16])
            self._write()
        return self._document.runs[key]

    def accepted(self, key: str, points: list[Point]) -> None:
        for point in points:
            self._document.runs[key].sent.setdefault(point.step, {}).update(point.metrics)
        self._write()

    def was_announced(self, outcome_id: str) -> bool:
        return outcome_id in self._document.announced

    def announced(self, outcome_id: str) -> None:
        self._document.announced.append(outcome_id)
        self._write()

    def _read(self) -> _Document:
        try:
            return _Document.model_validate_json(read_bounded(self._path, MAX_LEDGER_BYTES))
        except FileNotFoundError:
            return _Document()
        except ValidationError:
            aside = self._path.with_suffix(".unreadable")
            self._path.replace(aside)
            log.warning("%s cannot be read and was moved to %s: everything is sent again", self._path, aside.name)
            return _Document()

    def _write(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(self._path, to_json(self._document.model_dump(mode="json")))
