"""What a running evaluator says about itself, for people (`status`) and for health checks (`health`).

Each evaluator keeps one small file in the reports folder up to date and removes it at its end. Nothing is decided
by these files: work is found by scanning, and claims are locks.
"""

from __future__ import annotations

import glob
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from shared.durable import read_bounded, to_json
from shared.layout import MAX_MARKER_BYTES, ReportsFolder

REFRESH_SECONDS = 5.0
FRESH_SECONDS = 60.0  # older than this, an evaluator is taken for gone


@dataclass(frozen=True)
class Presence:
    """State of one evaluator: ``waiting``, ``starting`` or ``evaluating``. Times in seconds since the epoch."""

    host: str
    pid: int
    started_at: float
    updated_at: float
    state: str = "waiting"
    checkpoint: str | None = None
    cases_done: int = 0
    cases: int = 0
    pending: int = 0


_presence: TypeAdapter[Presence] = TypeAdapter(Presence)


def presence_folder(reports: ReportsFolder) -> Path:
    return reports.root / ".evaluators"


class PresenceFile:
    """Writes this process's presence, at most once per REFRESH_SECONDS unless something visible changed."""

    def __init__(self, reports: ReportsFolder, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        host = socket.gethostname()
        self._path = presence_folder(reports) / f"{host}-{os.getpid()}.json"
        self.current = Presence(host, os.getpid(), clock(), 0.0)
        _forget_the_dead(self._path.parent, host)

    def update(self, **changes: object) -> None:
        """Change fields and write when due. A file that cannot be written is no reason to stop evaluating."""
        changed = replace(self.current, **changes)  # type: ignore[arg-type]
        now = self._clock()
        if changed == self.current and now - self.current.updated_at < REFRESH_SECONDS:
            return
        self.current = replace(changed, updated_at=now)
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            temporary = self._path.with_suffix(".tmp")
            temporary.write_bytes(to_json(asdict(self.current)))
            temporary.replace(self._path)

    def remove(self) -> None:
        with suppress(OSError):
            self._path.unlink()


def _forget_the_dead(folder: Path, host: str) -> None:
    """Remove the files of this machine's evaluators that were killed before they could."""
    for path in folder.glob(f"{glob.escape(host)}-*.json"):
        process = path.stem.removeprefix(f"{host}-")
        if process.isdecimal() and not Path(f"/proc/{process}").exists():
            with suppress(OSError):
                path.unlink()


def evaluators_present(reports: ReportsFolder, *, max_age: float = FRESH_SECONDS) -> list[Presence]:
    """Every evaluator that was alive within ``max_age`` seconds, as it described itself."""
    found = []
    for path in sorted(presence_folder(reports).glob("*.json")):
        with suppress(OSError, ValidationError):
            present = _presence.validate_json(read_bounded(path, MAX_MARKER_BYTES))
            if time.time() - present.updated_at <= max_age:
                found.append(present)
    return found
