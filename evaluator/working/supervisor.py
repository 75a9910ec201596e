"""The evaluator's main loop: scan, take the next checkpoint, evaluate, commit, scan again. No torch here.

One round looks at everything anew, so nothing has to be remembered between rounds, and a restart is like any round.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Protocol

from sidestep.evaluator.cases.case import Suite
from sidestep.evaluator.cases.result import CaseResult, CaseStatus
from sidestep.evaluator.reporting.refreshing import DerivedFiles
from sidestep.evaluator.results.report import Report
from sidestep.evaluator.results.store import list_outcomes, sweep_staging
from sidestep.evaluator.settings import EvaluatorSettings
from sidestep.evaluator.suite.loading import load_suite
from sidestep.evaluator.watching.claim import claimed
from sidestep.evaluator.watching.planning import NO_SUITE, Conditions, FindTasks, Task, pending_tasks
from sidestep.evaluator.watching.scan import scan
from sidestep.evaluator.watching.watch import Wakeup, Watcher, wait_for_any
from sidestep.evaluator.working.attempts import Attempt
from sidestep.evaluator.working.committing import commit_ending
from sidestep.evaluator.working.evaluation import Evaluation
from sidestep.evaluator.working.messages import Start
from sidestep.evaluator.working.model_worker import ModelWorker, StopRequested, Surroundings
from sidestep.shared.errors import EngineError, ReportsFolderError, SuiteError
from sidestep.shared.logs import get_logger
from sidestep.shared.protocol.identity import Identity
from sidestep.shared.protocol.layout import model_folder_name
from sidestep.shared.protocol.presence import Presence, PresenceFile, evaluators_present

log = get_logger("evaluator")


class Observer(Protocol):
    """Somebody who is told what happens; must return at once and raise nothing."""

    def on_report(self, report: Report, waiting: Sequence[int]) -> None:
        """``report`` was committed; ``waiting`` are the steps that have no outcome yet."""
        ...

    def on_state(self, presence: Presence) -> None:
        """The evaluator's state, about once a second while it works and once a poll while it waits."""
        ...


@dataclass(frozen=True)
class Until:
    """When a run ends by itself: never; when idle this long; after one pass; when ``drain`` is closed and all is done.

    ``drain`` is a pipe, set not to block, that its writer closes when no more checkpoints will come.
    """

    idle_seconds: float | None = None
    once: bool = False
    drain: IO[bytes] | None = None


@dataclass
class Session:
    """What one run of the evaluator committed, in order."""

    committed: list[Report] = field(default_factory=list)

    @property
    def newest(self) -> Report | None:
        """The evaluated checkpoint of the highest step."""
        evaluated = [report for report in self.committed if report.evaluated and report.step is not None]
        return max(evaluated, key=lambda report: report.step or 0, default=None)


class Supervisor:
    """Runs until told to stop (``stop``), or until ``Until`` says so. ``find_tasks`` defaults to what is pending.

    While ``settling``, more may turn out to be work at the next look, so a run does not end by itself.
    """

    def __init__(
        self,
        settings: EvaluatorSettings,
        *,
        find_tasks: FindTasks | None = None,
        settling: Callable[[], bool] | None = None,
        observers: Sequence[Observer] = (),
    ) -> None:
        self._settings = settings
        self._settling = settling or (lambda: False)
        self._observers = tuple(observers)
        self._find_tasks = find_tasks or self._pending
        self._wakeup = Wakeup()
        self._stopping = False
        self._drained = False
        self._single_pass = False
        self._presence = PresenceFile(settings.place.reports)
        self._worker = ModelWorker(
            Start(settings.engine_factory, settings.engine, settings.log_json, settings.max_slowdown),
            Surroundings(self._wakeup, lambda: self._stopping, self._tell_state),
            settings.stall_seconds,
            in_our_session=settings.in_session_of_training and settings.max_slowdown == 0,
        )
        self._evaluation = Evaluation(settings, self._worker, self._on_progress)
        self._derived_files = DerivedFiles(settings)
        self._not_before: dict[str, float] = {}  # failed attempts wait before they are repeated
        self._begun: set[str] = set()
        self._ended: set[str] = set()  # forced tasks that this run has brought to an end
        self._suite: Suite | None = None
        self._suite_state: bytes | None = None  # what the file held at the last look; None before the first
        self._session = Session()

    def stop(self) -> None:
        """End as soon as possible; safe to call from a signal handler. Finished cases are kept."""
        self._stopping = True
        self._wakeup.notify()

    def run(self, until: Until) -> Session:
        """Work until the end. Raises a SidestepError when nothing can be evaluated until somebody changes something."""
        root = self._settings.place.root
        if not root.is_dir() and not until.once:
            log.info("waiting for %s to appear", root)
        self._presence.remove_files_of_dead()
        sweep_staging(self._settings.place.reports, lambda: bool(evaluators_present(self._settings.place.reports)))
        try:
            with Watcher(self._settings.place, self._wakeup) as watcher:
                self._loop(until, watcher)
        except StopRequested:
            log.info("stopped; finished cases are kept, the rest follows at the next start")
        finally:
            self._worker.close()
            self._catch_up()
            self._presence.remove()
            self._wakeup.close()
        return self._session

    def _loop(self, until: Until, watcher: Watcher) -> None:
        self._single_pass = until.once
        idle_since = time.monotonic()
        while not self._stopping:
            watcher.ensure()
            last_look = until.once or self._is_drained(until)  # asked before scanning: nothing can come later
            tasks = self._tasks()
            if self._run_one(tasks):
                idle_since = time.monotonic()
                continue
            self._catch_up()
            if not tasks and last_look and not self._settling():
                return
            if not tasks and self._settling():
                idle_since = time.monotonic()
            elif not tasks and until.idle_seconds is not None and time.monotonic() - idle_since >= until.idle_seconds:
                return
            self._tell_state(state="waiting", checkpoint=None, pending=len(tasks))
            self._wait(until)

    def _wait(self, until: Until) -> None:
        drain = () if until.drain is None or self._drained else (until.drain,)
        seconds = min(self._settings.poll_seconds, until.idle_seconds or self._settings.poll_seconds)
        seconds = min(seconds, 1.0) if self._settling() else seconds
        wait_for_any(self._wakeup, drain, seconds)

    def _is_drained(self, until: Until) -> bool:
        if until.drain is not None and not self._drained:
            self._drained = until.drain.read(1 << 16) == b""  # not blocking: None while the writer lives
        return self._drained

    def _tasks(self) -> list[Task]:
        """What is to be done now; the base model comes when no checkpoint waits."""
        suite = self._current_suite()
        conditions = Conditions(suite.sha256 if suite else NO_SUITE, self._settings.decoding.sha256)
        outcomes = [record.identity for record in list_outcomes(self._settings.place.reports)]
        done = {identity.id for identity in outcomes}
        found = self._find_tasks(conditions, done)
        tasks = [task for task in found if not (task.forced and task.identity.id in self._ended)]
        if not tasks and suite and suite.cases and self._settings.place.root.is_dir():
            return self._base_tasks(conditions, outcomes)
        return tasks

    def _pending(self, conditions: Conditions, done: Collection[str]) -> list[Task]:
        return pending_tasks(scan(self._settings.place), conditions, done, self._settings.order)

    def _base_tasks(self, conditions: Conditions, outcomes: list[Identity]) -> list[Task]:
        """The base model's task unless it is done. An idle worker is not started only to find that out."""
        folder = model_folder_name(self._settings.engine.base_model)
        if self._worker.info is None and conditions.base_is_done(folder, outcomes):
            return []
        if self._is_deferred("base"):
            return []
        self._tell_state(state="starting")
        try:
            task = conditions.base_task(folder, self._worker.ready().base_fingerprint)
        except EngineError as error:
            log.error("the base model could not be loaded: %s", error)
            self._defer("base")
            return []
        return [] if task.identity in outcomes else [task]

    def _current_suite(self) -> Suite | None:
        """The suite as it is now. One that became invalid while running is reported, and the last good one stays."""
        path = self._settings.suite_path
        state = path.read_bytes() if path.is_file() else b""
        if state == self._suite_state:
            return self._suite
        first = self._suite_state is None
        self._suite_state = state
        if not path.is_file():
            log.warning("nothing to test: %s does not exist", path)
            self._suite = None
            return None
        try:
            self._suite = load_suite(path)
        except SuiteError as error:
            if first:
                raise
            log.error("%s; going on with the test cases as they were", error)
            return self._suite
        for warning in self._suite.warnings:
            log.warning("%s: %s", path.name, warning)
        return self._suite

    def _run_one(self, tasks: list[Task]) -> bool:
        """Evaluate the first task that nobody else holds and that is not waiting for its next attempt."""
        for task in tasks:
            if self._is_deferred(task.identity.id):
                continue
            try:
                with claimed(self._settings.place.reports, task.identity.id) as mine:
                    if mine and not self._done_meanwhile(task):
                        self._tell_state(pending=len(tasks))
                        self._evaluate(task, [other for other in tasks if other is not task])
                        return True
            except (ReportsFolderError, OSError) as error:
                self._storage_failed(task, error)
                return True
        return False

    def _done_meanwhile(self, task: Task) -> bool:
        outcomes = list_outcomes(self._settings.place.reports)
        return not task.forced and any(record.identity == task.identity for record in outcomes)

    def _evaluate(self, task: Task, others: Sequence[Task]) -> None:
        fresh = task.forced and task.identity.id not in self._begun
        self._begun.add(task.identity.id)
        with Attempt(self._settings.place.reports, task.identity, fresh=fresh) as attempt:
            ending = self._evaluation.run(task, self._suite, attempt)
            if ending is None:
                self._defer(task.identity.id)
                return
            report = commit_ending(self._settings, ending, self._derived_files, others_wait=bool(others))
            attempt.forget()
        self._ended.add(task.identity.id)
        if report:
            self._session.committed.append(report)
            waiting = [other.identity.key.step for other in others if other.identity.key.step is not None]
            for observer in self._observers:
                observer.on_report(report, waiting)

    def _catch_up(self) -> None:
        """Bring the views up to date; that they cannot be written is no reason to end otherwise than one would."""
        try:
            self._derived_files.catch_up()
        except OSError as error:
            log.error("the views of %s cannot be written: %s", self._settings.place.reports.root, error)

    def _storage_failed(self, task: Task, error: Exception) -> None:
        """Reports cannot be written: pause claims, keep what is there, try again later; a single pass gives up."""
        if self._single_pass:
            raise (
                error
                if isinstance(error, ReportsFolderError)
                else ReportsFolderError(f"{self._settings.place.reports.root} cannot be written: {error}")
            ) from error
        log.error("%s: reports cannot be written: %s; trying again", task.identity.label, error)
        self._defer(task.identity.id)

    def _defer(self, key: str) -> None:
        self._not_before[key] = time.monotonic() + self._settings.retry_seconds

    def _is_deferred(self, key: str) -> bool:
        return time.monotonic() < self._not_before.get(key, 0.0)

    def _on_progress(self, task: Task, finished: Mapping[str, CaseResult], cases: int) -> None:
        before, done, label = self._presence.current, len(finished), task.identity.label
        if (before.state, before.checkpoint, before.cases_done) == ("evaluating", label, done):
            self._tell_state()
            return
        statuses = [each.status for each in finished.values()]
        passed = statuses.count(CaseStatus.PASSED)
        begins = before.state != "evaluating" or before.checkpoint != label
        beginning = {"cases_kept": done, "began_at": time.time()} if begins else {}
        self._tell_state(
            state="evaluating", checkpoint=label, cases_done=done, cases=cases, passed=passed,
            decided=passed + statuses.count(CaseStatus.FAILED), **beginning,
        )  # fmt: skip
        quarter = max(1, cases // 4)
        if done % quarter == 0 and done < cases:
            log.info("%s: %d of %d cases done", label, done, cases)

    def _tell_state(self, **changes: object) -> None:
        self._presence.update(**changes)
        for observer in self._observers:
            observer.on_state(self._presence.current)
