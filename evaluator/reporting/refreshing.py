"""When the files derived from all reports are refreshed: at once while that is cheap, less often while a queue waits.

They (comparisons, history, advice, dashboard) follow from all reports, so refreshing them takes longer the more there
are. While further checkpoints wait, it takes at most a thirtieth of the time, or a checkpoint would cost the
more, the more there are; when the queue is empty, and at the end of a run, everything is up to date.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from sidestep.evaluator.reporting.derived_files import refresh_derived_files
from sidestep.evaluator.results.store import StoredReport
from sidestep.evaluator.settings import EvaluatorSettings
from sidestep.shared.protocol.layout import OUTCOME_NAME

SHARE = 0.03


class DerivedFiles:
    """The derived files of one reports folder."""

    def __init__(self, settings: EvaluatorSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._reports = settings.place.reports
        self._keep_reports = settings.keep_reports
        self._clock = clock
        self._due_at = float("-inf")
        self._stale = self._found_stale()

    def refresh(self, *, others_wait: bool = False) -> list[StoredReport] | None:
        """Bring them up to date; None when that is put off because others wait."""
        self._stale = True
        began = self._clock()
        if others_wait and began < self._due_at:
            return None
        stored = refresh_derived_files(self._reports, keep_reports=self._keep_reports)
        self._stale = False
        ended = self._clock()
        self._due_at = ended + (ended - began) / SHARE
        return stored

    def catch_up(self) -> None:
        """Do what was put off, here or by an evaluator that was killed before it could. Raises OSError."""
        if self._stale:
            self.refresh()

    def _found_stale(self) -> bool:
        """Whether a report is newer than the history, by their files' times."""
        with suppress(OSError):
            outcomes = [path.stat().st_mtime_ns for path in self._reports.root.glob(f"*/{OUTCOME_NAME}")]
            if not outcomes:
                return False
            history = self._reports.comparison
            return not history.exists() or max(outcomes) > history.stat().st_mtime_ns
        return False
