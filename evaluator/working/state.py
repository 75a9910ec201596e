"""What the evaluator is doing right now: kept in its presence file, and told to its observers."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Protocol

from sidestep.evaluator.cases.result import CaseResult, CaseStatus
from sidestep.evaluator.results.report import Report
from sidestep.evaluator.watching.tasks import Task
from sidestep.shared.logs import get_logger
from sidestep.shared.protocol.layout import ReportsFolder
from sidestep.shared.protocol.presence import Presence, PresenceFile

log = get_logger("evaluator")


class Observer(Protocol):
    """Somebody who is told what happens; must return at once and raise nothing."""

    def on_report(self, report: Report, waiting: Sequence[int]) -> None:
        """``report`` was committed; ``waiting`` are the steps that have no outcome yet."""
        ...

    def on_state(self, presence: Presence) -> None:
        """The evaluator's state, about once a second while it works and once a poll while it waits."""
        ...


class EvaluatorState:
    """This evaluator's state, for people and health checks."""

    def __init__(self, reports: ReportsFolder, observers: Sequence[Observer] = ()) -> None:
        self._presence = PresenceFile(reports)
        self._observers = tuple(observers)

    def remove_leftovers(self) -> None:
        """Remove the presence files of evaluators on this machine that were killed."""
        self._presence.remove_files_of_dead()

    def update(self, **changes: object) -> None:
        """Change fields of the presence; without any, say that the evaluator is still there."""
        self._presence.update(**changes)
        for observer in self._observers:
            observer.on_state(self._presence.current)

    def update_progress(self, task: Task, finished: Mapping[str, CaseResult], cases: int) -> None:
        """An evaluation is this far: ``finished`` of ``cases``."""
        before, done, label = self._presence.current, len(finished), task.identity.label
        if (before.state, before.checkpoint, before.cases_done) == ("evaluating", label, done):
            self.update()
            return
        statuses = [result.status for result in finished.values()]
        passed = statuses.count(CaseStatus.PASSED)
        begins = before.state != "evaluating" or before.checkpoint != label
        beginning = {"cases_kept": done, "began_at": time.time()} if begins else {}
        self.update(
            state="evaluating", checkpoint=label, cases_done=done, cases=cases, passed=passed,
            decided=passed + statuses.count(CaseStatus.FAILED), **beginning,
        )  # fmt: skip
        quarter = max(1, cases // 4)
        if done % quarter == 0 and done < cases:
            log.info("%s: %d of %d cases done", label, done, cases)

    def announce(self, report: Report, waiting: Sequence[int]) -> None:
        """Tell the observers of a committed report."""
        for observer in self._observers:
            observer.on_report(report, waiting)

    def remove(self) -> None:
        """The evaluator ends."""
        self._presence.remove()
