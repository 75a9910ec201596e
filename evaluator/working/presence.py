"""The evaluator's side of shared.protocol.presence: keeps this process's own file and removes it at the end."""

from __future__ import annotations

import glob
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

from sidestep.shared.files import to_json
from sidestep.shared.protocol.layout import ReportsFolder
from sidestep.shared.protocol.presence import Presence, presence_folder

REFRESH_SECONDS = 5.0


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
