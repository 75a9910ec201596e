"""Notices new reports, and what evaluators say about themselves, by polling.

File system events do not come through network and container mounts; one stat and a few small files a second do.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import asdict

from sidestep.evaluator.presenting.dashboard.cache import PAGE_DATA_NAME, cache_folder
from sidestep.shared.files import to_json_line
from sidestep.shared.protocol.layout import ReportsFolder
from sidestep.shared.protocol.presence import evaluators_present

POLL_SECONDS = 1.0


class Changes:
    """A stream of events for every reader; each has its own idea of what it knows already."""

    def __init__(self, reports: ReportsFolder, *, poll_seconds: float = POLL_SECONDS) -> None:
        self._reports = reports
        self._poll_seconds = poll_seconds

    async def events(self) -> AsyncIterator[tuple[str, str]]:
        """(``evaluators``, JSON) and (``reports``, "") for ever; the first event is how evaluators are now."""
        known, told = self._version(), None
        while True:
            now = self._evaluators()
            if now != told:
                told = now
                yield "evaluators", now
            version = self._version()
            if version != known:
                known = version
                yield "reports", ""
            await asyncio.sleep(self._poll_seconds)

    def _version(self) -> tuple[int, int] | None:
        """Changes whenever the page's data are replaced; no clock is compared with another."""
        try:
            state = (cache_folder(self._reports) / PAGE_DATA_NAME).stat()
        except OSError:
            return None
        return state.st_ino, state.st_mtime_ns

    def _evaluators(self) -> str:
        rows = [
            {name: value for name, value in asdict(presence).items() if name not in ("started_at", "updated_at")}
            for presence in evaluators_present(self._reports)
        ]
        return to_json_line(rows).decode().strip()
