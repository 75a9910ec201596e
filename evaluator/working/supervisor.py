"""The evaluator's main loop: scan, take the next checkpoint, evaluate, commit, scan again. No torch here.

Every round scans everything again, so nothing has to be remembered between rounds, and a restart is like any round.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from sidestep.evaluator.cases.case import Suite
from sidestep.evaluator.cases.exchange import EngineInfo
from sidestep.evaluator.reporting.refreshing import DerivedFiles
from sidestep.evaluator.results.report import Report
from sidestep.evaluator.results.store import list_outcomes, sweep_staging
from sidestep.evaluator.settings import EvaluatorSettings
from sidestep.evaluator.watching.claim import claim
from sidestep.evaluator.watching.scan import is_whole_somewhere
from sidestep.evaluator.watching.tasks import NO_SUITE, Conditions, PublishedTasks, Task, TaskSource
from sidestep.evaluator.watching.wakeup import Wakeup, Watcher, wait_for_any
from sidestep.evaluator.working.attempts import MAX_ATTEMPTS, Attempt, open_attempt
from sidestep.evaluator.working.committing import commit_ending
from sidestep.evaluator.working.evaluation import Ending, Evaluation, Left
from sidestep.evaluator.working.fault import is_task_to_blame
from sidestep.evaluator.working.messages import Start
from sidestep.evaluator.working.model_worker import ModelWorker, StopRequested, Surroundings, WorkerDied
from sidestep.evaluator.working.run_end import EndCondition, RunEnd
from sidestep.evaluator.working.state import EvaluatorState, Observer
from sidestep.evaluator.working.suite_file import SuiteFile
from sidestep.evaluator.working.task_history import TaskHistory
from sidestep.shared.errors import CheckpointsPending, EngineError, EvaluatorFault, ReportsFolderError
from sidestep.shared.logs import get_logger
from sidestep.shared.protocol.identity import Identity
from sidestep.shared.protocol.layout import model_folder_name
from sidestep.shared.protocol.outcomes import Outcome
from sidestep.shared.protocol.presence import evaluators_present

WORKER = "worker"  # stands for a task's id where the worker's next start has to wait
NAMED_LABELS, NAMED_REASONS = 5, 2  # how many of each an error names

log = get_logger("evaluator")


@dataclass
class RunResult:
    """What one run of the evaluator committed, in order, and what it left pending, with the reason, by label."""

    committed: list[Report] = field(default_factory=list)
    pending: dict[str, str] = field(default_factory=dict)

    @property
    def newest(self) -> Report | None:
        """The evaluated checkpoint of the highest step."""
        evaluated = [report for report in self.committed if report.evaluated and report.step is not None]
        return max(evaluated, key=lambda report: report.step or 0, default=None)

    def raise_if_pending(self) -> None:
        """Raise CheckpointsPending when the run ended with work that it could not do."""
        if not self.pending:
            return
        labels, reasons = list(self.pending), list(dict.fromkeys(self.pending.values()))
        named = ", ".join(labels[:NAMED_LABELS]) + (", …" if len(labels) > NAMED_LABELS else "")
        raise CheckpointsPending(
            f"{len(labels)} left pending ({named}): {'; '.join(reasons[:NAMED_REASONS])}",
            hint="nothing is lost: correct what is wrong and run this again",
        )


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
        self._failed_starts = 0
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
                self._result.pending |= self._history.set_aside_reasons()
            except EvaluatorFault:
                self._forgive_exhausted()
                raise
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
            if suite and self._run_one(tasks, suite):
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
        """What is to be done now; the base model comes when no checkpoint waits. Without a suite, nothing is."""
        outcomes = self._outcomes()
        conditions = Conditions(suite.sha256 if suite else NO_SUITE, self._settings.decoding.sha256)
        found = self._source.find_tasks(conditions, {identity.id for identity in outcomes})
        if suite is None:
            self._leave_pending(found, outcomes)
            return []
        self._result.pending.clear()
        tasks = [task for task in found if not (task.forced and self._history.is_ended(task))]
        tasks = [task for task in tasks if not self._history.is_set_aside(task)]
        if not tasks and self._settings.place.root.is_dir():
            return self._base_tasks(conditions, outcomes)
        # Those whose attempts all failed wait until others have shown whose fault it is.
        return sorted(tasks, key=lambda task: self._history.why_exhausted(task) is not None)

    def _leave_pending(self, tasks: list[Task], outcomes: list[Identity]) -> None:
        """Note what waits for test cases: checkpoints that have no outcome by any suite, or are to be run again.

        An expert without test cases is trained like any other: that is not a failure of a co-launched evaluator.
        """
        if self._end.beside_training and self._suite_file.is_missing:
            return
        ended = {outcome.key for outcome in outcomes}
        problem = self._suite_file.problem or "there are no test cases"
        self._result.pending = {
            task.identity.label: problem for task in tasks if task.forced or task.identity.key not in ended
        }

    def _base_tasks(self, conditions: Conditions, outcomes: list[Identity]) -> list[Task]:
        """The base model's task unless it is done. An idle worker is not started only to find that out."""
        folder = model_folder_name(self._settings.engine.base_model)
        if self._worker.info is None and conditions.has_base(folder, outcomes):
            return []
        self._state.update(state="starting")
        info = self._start_worker()
        if info is None:
            return []
        task = conditions.base_task(folder, info.base_fingerprint)
        return [] if task.identity in outcomes or self._history.is_set_aside(task) else [task]

    def _start_worker(self) -> EngineInfo | None:
        """The description of a worker that is ready; None when it did not start and another try has to wait.

        That it does not start is not a checkpoint's fault, so it happens before anything is claimed. Raises
        BaseModelError when no worker can ever start, EvaluatorFault when it died several times.
        """
        if self._history.is_deferred(WORKER):
            return None
        try:
            info = self._worker.ready()
        except EngineError as error:
            self._failed_starts += 1
            if self._failed_starts >= MAX_ATTEMPTS and (isinstance(error, WorkerDied) or self._end.single_pass):
                raise EvaluatorFault(f"the worker does not start: {error.message}", hint=error.hint) from error
            log.error("the worker did not start: %s; trying again", error)
            self._history.defer(WORKER)
            return None
        self._failed_starts = 0
        return info

    def _run_one(self, tasks: list[Task], suite: Suite) -> bool:
        """Evaluate the first task that nobody else holds and that is not waiting for its next attempt."""
        for task in tasks:
            if self._history.is_deferred(task.identity.id):
                continue
            if task.needs_worker and self._start_worker() is None:
                return False
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

    def _evaluate(self, task: Task, suite: Suite, others: Sequence[Task]) -> None:
        fresh = self._history.begin(task) and task.forced
        with open_attempt(self._reports, task.identity, fresh=fresh) as attempt:
            ending = self._end_of(task, suite, attempt, others)
            if ending is None:
                return
            report = commit_ending(self._settings, ending, self._derived_files, others_wait=bool(others))
            attempt.forget()
        self._history.end(task)
        if task.candidate and ending.outcome is Outcome.EVALUATED:
            self._history.has_evaluated = True
        if report:
            self._result.committed.append(report)
            waiting = [other.identity.key.step for other in others]
            self._state.announce(report, [step for step in waiting if step is not None])

    def _end_of(self, task: Task, suite: Suite, attempt: Attempt, others: Sequence[Task]) -> Ending | None:
        """How a task ends; None when it does not, now or in this run."""
        exhausted = self._history.why_exhausted(task)
        if exhausted and self._history.has_evaluated:
            return self._evaluation.end_in_error(task, suite, exhausted)
        ended = self._evaluation.run(task, suite, attempt)
        if isinstance(ended, Ending):
            if ended.outcome is Outcome.VANISHED and is_whole_somewhere(self._settings.place, task.identity.key):
                self._history.defer(task.identity.id)  # it was published again, or moved, while this was looking
                return None
            return ended
        if ended.left is Left.SET_ASIDE:
            if self._history.set_aside(task, ended.reason):
                log.error("%s stays pending: %s", task.identity.label, ended.reason)
            return None
        if ended.left is Left.EXHAUSTED:
            to_try = [other for other in others if other.needs_worker and not self._history.why_exhausted(other)]
            if is_task_to_blame(task, ended.reason, to_try, self._history, lambda: self._evaluation.can_answer(suite)):
                return self._evaluation.end_in_error(task, suite, ended.reason)
        self._history.defer(task.identity.id)
        return None

    def _forgive_exhausted(self) -> None:
        """Take back failed attempts that were the evaluator's fault: they must not count at the next start."""
        for task in self._history.exhausted:
            with suppress(OSError), open_attempt(self._reports, task.identity) as attempt:
                attempt.forgive()

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
