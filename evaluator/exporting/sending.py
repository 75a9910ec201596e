"""Brings every destination up to date with the reports: what they say, minus what the ledger says was sent.

A destination that fails is retried with growing pauses, then left for the next round; it is warned about once, until
it works again. Nothing here can fail an evaluation.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import tenacity

from sidestep.evaluator.exporting.destinations import Destination, open_destination
from sidestep.evaluator.exporting.ledger import Ledger
from sidestep.evaluator.exporting.points import runs_of, unfinished
from sidestep.evaluator.exporting.webhook import Refused, Webhook
from sidestep.evaluator.results.store import StoredReport, read_reports
from sidestep.shared.logs import get_logger
from sidestep.shared.protocol.layout import ReportsFolder

ATTEMPTS = 4
LONGEST_PAUSE_SECONDS = 10.0
WEBHOOK = "webhook"

log = get_logger("evaluator.export")

Job = Callable[[Sequence[StoredReport], Collection[int]], int]


class Sender:
    """All destinations of one reports folder. ``first_pause`` is the shortest pause between attempts, in seconds."""

    def __init__(
        self,
        reports: ReportsFolder,
        destinations: Sequence[str],
        webhook: str | None = None,
        *,
        opener: Callable[[str, ReportsFolder], Destination] = open_destination,
        first_pause: float = 0.5,
    ) -> None:
        self._reports = reports
        self._opener = opener
        self._first_pause = first_pause
        self._open: dict[str, Destination] = {}
        self._hook = Webhook(webhook) if webhook else None
        self._jobs: dict[str, Job] = {name: self._curves_for(name) for name in destinations}
        if self._hook:
            self._jobs[WEBHOOK] = self._announce
        self._failing: set[str] = set()

    def send(self, waiting: Collection[int] = ()) -> bool:
        """One round over all destinations; True when all are up to date. ``waiting``: steps without an outcome."""
        stored = read_reports(self._reports)
        done = {name: self._run_job(name, job, stored, waiting) for name, job in self._jobs.items()}
        return all(done.values())

    def close(self) -> None:
        """Flush every destination; one that cannot be flushed is warned about."""
        for name, destination in self._open.items():
            try:
                destination.close()
            except Exception as error:  # three clients of other people, each with errors of its own
                log.warning("%s could not be closed: %s", name, _describe(error))
        if self._hook:
            self._hook.close()

    def _run_job(self, name: str, job: Job, stored: Sequence[StoredReport], waiting: Collection[int]) -> bool:
        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(1 if name in self._failing else ATTEMPTS),
            wait=tenacity.wait_exponential(multiplier=self._first_pause, max=LONGEST_PAUSE_SECONDS),
            retry=tenacity.retry_if_not_exception_type((Refused, ImportError)),
            reraise=True,
        )
        try:
            sent = retrying(job, stored, waiting)
        except Exception as error:  # see close(); evaluations go on whatever it is
            if name not in self._failing:
                log.warning(
                    "%s cannot be reached, evaluation goes on and it is tried again: %s", name, _describe(error)
                )
            self._failing.add(name)
            return False
        if name in self._failing:
            log.info("%s works again", name)
            self._failing.discard(name)
        if sent:
            log.info("%s: sent %d", name, sent)
        return True

    def _curves_for(self, name: str) -> Job:
        def job(stored: Sequence[StoredReport], waiting: Collection[int]) -> int:
            ledger, count = Ledger.open(self._reports, name), 0
            for run in runs_of(stored, waiting):
                known = ledger.ensure_run(run.key)
                points = unfinished(run.points, known.sent)
                if not points:
                    continue
                if name not in self._open:
                    self._open[name] = self._opener(name, self._reports)
                self._open[name].send(run, points, known.tracker_id)
                ledger.record_accepted(run.key, points)
                count += len(points)
            return count

        return job

    def _announce(self, stored: Sequence[StoredReport], waiting: Collection[int]) -> int:
        assert self._hook is not None
        ledger, count = Ledger.open(self._reports, WEBHOOK), 0
        current = [entry.report for entry in stored if not entry.archived]
        for report in sorted(current, key=lambda report: report.timing.finished_at):
            key = f"{report.identity.id} {report.timing.finished_at}"  # a rerun is news again
            if ledger.was_announced(key):
                continue
            self._hook.post(report)
            ledger.record_announced(key)
            count += 1
        return count


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
