"""What a running evaluator says about itself, for people (`status`, live views) and for health checks (`health`).

Each evaluator keeps one small file in the reports folder up to date (evaluator.working.presence) and removes it at its
end. Nothing is decided by these files: work is found by scanning, and claims are locks.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from sidestep.shared.files import read_bounded
from sidestep.shared.protocol.layout import MAX_MARKER_BYTES, ReportsFolder

FRESH_SECONDS = 60.0  # older than this, an evaluator is taken for gone


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


_presence: TypeAdapter[Presence] = TypeAdapter(Presence)


def presence_folder(reports: ReportsFolder) -> Path:
    return reports.root / ".evaluators"


def evaluators_present(reports: ReportsFolder, *, max_age: float = FRESH_SECONDS) -> list[Presence]:
    """Every evaluator that was alive within ``max_age`` seconds, as it described itself."""
    found = []
    for path in sorted(presence_folder(reports).glob("*.json")):
        with suppress(OSError, ValidationError):
            present = _presence.validate_json(read_bounded(path, MAX_MARKER_BYTES))
            if time.time() - present.updated_at <= max_age:
                found.append(present)
    return found
