"""The evaluator's main loop: scan, take the next checkpoint, evaluate, commit, scan again. No torch here.

Every round scans everything again, so nothing has to be remembered between rounds, and a restart is like any round.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sidestep.evaluator.cases.case import Suite
from sidestep.evaluator.reporting.refreshing import DerivedFiles
from sidestep.evaluator.results.report import Report
from sidestep.evaluator.results.store import list_outcomes, sweep_staging
from sidestep.evaluator.settings import EvaluatorSettings
from sidestep.evaluator.watching.claim import claim
from sidestep.evaluator.watching.tasks import NO_SUITE, Conditions, PublishedTasks, Task, TaskSource
from sidestep.evaluator.watching.wakeup import Wakeup, Watcher, wait_for_any
from sidestep.evaluator.working.attempts import open_attempt
from sidestep.evaluator.working.committing import commit_ending
from sidestep.evaluator.working.evaluation import Evaluation
from sidestep.evaluator.working.messages import Start
from sidestep.evaluator.working.model_worker import ModelWorker, StopRequested, Surroundings
from sidestep.evaluator.working.run_end import EndCondition, RunEnd
from sidestep.evaluator.working.state import EvaluatorState, Observer
from sidestep.evaluator.working.suite_file import SuiteFile
from sidestep.evaluator.working.task_history import TaskHistory
from sidestep.shared.errors import EngineError, ReportsFolderError
from sidestep.shared.logs import get_logger
from sidestep.shared.protocol.identity import Identity
from sidestep.shared.protocol.layout import model_folder_name
from sidestep.shared.protocol.presence import evaluators_present

BASE = "base"  # stands for the base model's id, which is known only when it is loaded

log = get_logger("evaluator")


@dataclass
class RunResult:
    """What one run of the evaluator committed, in order."""

    committed: list[Report] = field(default_factory=list)

    @property
    def newest(self) -> Report | None:
        """The evaluated checkpoint of the highest step."""
        evaluated = [report for report in self.committed if report.evaluated and report.step is not None]
        return max(evaluated, key=lambda report: report.step or 0, default=None)


class Supervisor:
    """Runs until told to stop (``stop``), or until its end condition says so. ``source``: published checkpoints."""

    def __init__(
        self,
        settings: EvaluatorSettings,
        end: EndCondition,
        *,
        source: TaskSource | None = None,
        observers: Sequence[Observer] = (),
    ) -> None:
        self._settings = settings
        self._reports = settings.place.reports
        self._source = source or PublishedTasks(settings.place, settings.order)
        self._end = RunEnd(end)
        self._wakeup = Wakeup()
        self._stopping = False
        self._state = EvaluatorState(self._reports, observers)
        self._worker = ModelWorker(
            Start(settings.engine_factory, settings.engine, settings.log_json, settings.max_slowdown),
            Surroundings(self._wakeup, lambda: self._stopping, self._state.update),
            settings.stall_seconds,
            own_session=not (settings.in_session_of_training and settings.max_slowdown == 0),
        )
        self._evaluation = Evaluation(settings, self._worker, self._state.update_progress)
        self._derived_files = DerivedFiles(settings)
        self._suite_file = SuiteFile(settings.suite_path)
        self._history = TaskHistory(settings.retry_seconds)
        self._result = RunResult()

    def stop(self) -> None:
        """End as soon as possible; safe to call from a signal handler. Finished cases are kept."""
        self._stopping = True
        self._wakeup.notify()

    def run(self) -> RunResult:
        """Work until the end. Raises a SidestepError when nothing can be evaluated until somebody changes something."""
        root = self._settings.place.root
        if not root.is_dir() and not self._end.single_pass:
            log.info("waiting for %s to appear", root)
        self._state.remove_leftovers()
        self._source.prepare()
        sweep_staging(self._reports, lambda: bool(evaluators_present(self._reports)))
        with self._wakeup:
            try:
                with Watcher(self._settings.place, self._wakeup) as watcher:
                    self._loop(watcher)
            except StopRequested:
                log.info("stopped; finished cases are kept, the rest follows at the next start")
            finally:
                self._worker.close()
                self._catch_up()
                self._state.remove()
        return self._result

    def _loop(self, watcher: Watcher) -> None:
        self._end.note_work()
        while not self._stopping:
            watcher.watch_new_folders()
            last_scan = self._end.is_last_scan()  # asked before scanning: nothing can come later
            suite = self._suite_file.read()
            tasks = self._find_tasks(suite)
            if self._run_one(tasks, suite):
                self._end.note_work()
                continue
            self._catch_up()
            settling = self._source.is_settling()
            if self._end.is_reached(has_tasks=bool(tasks), settling=settling, last_scan=last_scan):
                return
            self._state.update(state="waiting", checkpoint=None, pending=len(tasks))
            seconds = self._end.longest_wait(self._settings.poll_seconds, settling=settling)
            wait_for_any(self._wakeup, self._end.wake_sources(), seconds)

    def _find_tasks(self, suite: Suite | None) -> list[Task]:
        """What is to be done now; the base model comes when no checkpoint waits."""
        conditions = Conditions(suite.sha256 if suite else NO_SUITE, self._settings.decoding.sha256)
        outcomes = self._outcomes()
        found = self._source.find_tasks(conditions, {identity.id for identity in outcomes})
        tasks = [task for task in found if not (task.forced and self._history.is_ended(task))]
        if not tasks and suite and suite.cases and self._settings.place.root.is_dir():
            return self._base_tasks(conditions, outcomes)
        return tasks

    def _base_tasks(self, conditions: Conditions, outcomes: list[Identity]) -> list[Task]:
        """The base model's task unless it is done. An idle worker is not started only to find that out."""
        folder = model_folder_name(self._settings.engine.base_model)
        if self._worker.info is None and conditions.has_base(folder, outcomes):
            return []
        if self._history.is_deferred(BASE):
            return []
        self._state.update(state="starting")
        try:
            task = conditions.base_task(folder, self._worker.ready().base_fingerprint)
        except EngineError as error:
            log.error("the base model could not be loaded: %s", error)
            self._history.defer(BASE)
            return []
        return [] if task.identity in outcomes else [task]

    def _run_one(self, tasks: list[Task], suite: Suite | None) -> bool:
        """Evaluate the first task that nobody else holds and that is not waiting for its next attempt."""
        for task in tasks:
            if self._history.is_deferred(task.identity.id):
                continue
            try:
                with claim(self._reports, task.identity.id) as is_ours:
                    if is_ours and (task.forced or task.identity not in self._outcomes()):
                        self._state.update(pending=len(tasks))
                        self._evaluate(task, suite, [other for other in tasks if other is not task])
                        return True
            except (ReportsFolderError, OSError) as error:
                self._on_storage_failure(task, error)
                return True
        return False

    def _evaluate(self, task: Task, suite: Suite | None, others: Sequence[Task]) -> None:
        fresh = self._history.begin(task) and task.forced
        with open_attempt(self._reports, task.identity, fresh=fresh) as attempt:
            ending = self._evaluation.run(task, suite, attempt)
            if ending is None:
                self._history.defer(task.identity.id)
                return
            report = commit_ending(self._settings, ending, self._derived_files, others_wait=bool(others))
            attempt.forget()
        self._history.end(task)
        if report:
            self._result.committed.append(report)
            waiting = [other.identity.key.step for other in others]
            self._state.announce(report, [step for step in waiting if step is not None])

    def _outcomes(self) -> list[Identity]:
        return [record.identity for record in list_outcomes(self._reports)]

    def _catch_up(self) -> None:
        """Write derived files that are due; that they cannot be written is no reason to end otherwise than planned."""
        try:
            self._derived_files.catch_up()
        except OSError as error:
            log.error("the files derived from the reports in %s cannot be written: %s", self._reports.root, error)

    def _on_storage_failure(self, task: Task, error: ReportsFolderError | OSError) -> None:
        """Reports cannot be written: pause, keep what is there, try again later; a single pass gives up."""
        if self._end.single_pass:
            if isinstance(error, ReportsFolderError):
                raise error
            raise ReportsFolderError(f"{self._reports.root} cannot be written: {error}") from error
        log.error("%s: reports cannot be written: %s; trying again", task.identity.label, error)
        self._history.defer(task.identity.id)
