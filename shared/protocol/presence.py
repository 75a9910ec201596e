"""What a running evaluator says about itself, for people (`status`, live displays) and for health checks (`health`).

Each evaluator keeps one small file in the reports folder up to date and removes it at its end. Nothing is decided by
these files: work is found by scanning, and claims are locks.
"""

from __future__ import annotations

import glob
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from sidestep.shared.files import read_bounded, replace_file, to_json
from sidestep.shared.protocol.layout import MAX_MARKER_BYTES, ReportsFolder
from sidestep.shared.records import InvalidRecord, parse_record, record_document

FRESH_SECONDS = 60.0  # older than this, an evaluator is taken for gone
REFRESH_SECONDS = 5.0


@dataclass(frozen=True)
class Presence:
    """State of one evaluator: ``waiting``, ``starting`` or ``evaluating``. Times in seconds since the epoch.

    ``passed`` and ``decided`` count the finished cases of the checkpoint being evaluated; ``cases_kept`` were finished
    by an earlier attempt, before ``began_at``.
    """

    host: str
    pid: int
    started_at: float
    updated_at: float
    state: str = "waiting"
    checkpoint: str | None = None
    cases_done: int = 0
    cases: int = 0
    pending: int = 0
    passed: int = 0
    decided: int = 0
    cases_kept: int = 0
    began_at: float | None = None

    def cases_per_second(self, now: float) -> float | None:
        """How fast cases are finished in this evaluation, or None while that cannot be said."""
        done = self.cases_done - self.cases_kept
        if self.began_at is None or done <= 0 or now <= self.began_at:
            return None
        return done / (now - self.began_at)


def presence_folder(reports: ReportsFolder) -> Path:
    return reports.root / ".evaluators"


def evaluators_present(reports: ReportsFolder, *, max_age: float = FRESH_SECONDS) -> list[Presence]:
    """Every evaluator that was alive within ``max_age`` seconds, as it described itself."""
    found = []
    for path in sorted(presence_folder(reports).glob("*.json")):
        with suppress(OSError, InvalidRecord):
            present = parse_record(Presence, read_bounded(path, MAX_MARKER_BYTES))
            if time.time() - present.updated_at <= max_age:
                found.append(present)
    return found


class PresenceFile:
    """Writes this process's presence, at most once per REFRESH_SECONDS unless something visible changed."""

    def __init__(self, reports: ReportsFolder, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._host = socket.gethostname()
        self._path = presence_folder(reports) / f"{self._host}-{os.getpid()}.json"
        self.current = Presence(self._host, os.getpid(), clock(), 0.0)

    def update(self, **changes: object) -> None:
        """Change fields and write when due. A file that cannot be written is no reason to stop evaluating."""
        changed = replace(self.current, **changes)  # type: ignore[arg-type]
        now = self._clock()
        if changed == self.current and now - self.current.updated_at < REFRESH_SECONDS:
            return
        self.current = replace(changed, updated_at=now)
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(self._path, to_json(record_document(self.current)), durable=False)

    def remove(self) -> None:
        with suppress(OSError):
            self._path.unlink()

    def remove_files_of_dead(self) -> None:
        """Remove the files of this machine's evaluators that were killed before they could do it themselves."""
        for path in self._path.parent.glob(f"{glob.escape(self._host)}-*.json"):
            process = path.stem.removeprefix(f"{self._host}-")
            if process.isdecimal() and not Path(f"/proc/{process}").exists():
                with suppress(OSError):
                    path.unlink()
