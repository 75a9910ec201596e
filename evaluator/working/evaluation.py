"""One outcome, from claim to commit: run what is not finished, decide how it ended, hand the report over.

claimed -> (worker: loading, answering) -> evaluated | rejected | vanished | failed attempt
three failed attempts -> error          no files left, no test cases -> skipped
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sidestep.evaluator.cases.case import Suite
from sidestep.evaluator.cases.exchange import EngineInfo
from sidestep.evaluator.cases.result import CaseResult
from sidestep.evaluator.settings import EvaluatorSettings
from sidestep.evaluator.watching.tasks import Task
from sidestep.evaluator.working.attempts import MAX_ATTEMPTS, Attempt
from sidestep.evaluator.working.messages import Assignment, CaseDone, Failed, FailureKind, Finished, Progress
from sidestep.evaluator.working.model_worker import ModelWorker
from sidestep.shared.errors import EngineError
from sidestep.shared.logs import get_logger
from sidestep.shared.protocol.outcomes import Outcome

log = get_logger("evaluator")


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How an evaluation ended. Times are wall clock, in seconds, for people."""

    task: Task
    suite: Suite | None
    outcome: Outcome
    reason: str | None = None
    cases: tuple[CaseResult, ...] = ()
    engine: EngineInfo | None = None
    started_at: float
    finished_at: float
    attempts: int = 1
    work: Finished = field(default_factory=Finished)  # what the worker reported at the end


OnProgress = Callable[[Task, Mapping[str, CaseResult], int], None]  # task, finished cases, cases in all


class Evaluation:
    """Reaches the ending of one task with the help of a worker."""

    def __init__(self, settings: EvaluatorSettings, worker: ModelWorker, on_progress: OnProgress) -> None:
        self._settings = settings
        self._worker = worker
        self._on_progress = on_progress

    def run(self, task: Task, suite: Suite | None, attempt: Attempt) -> Ending | None:
        """The ending, or None after a failed attempt that is to be repeated later.

        Raises StopRequested when asked to stop, BaseModelError when nothing can be evaluated as things are, OSError
        when finished cases cannot be kept.
        """
        started_at = time.time()

        def end(outcome: Outcome, reason: str | None) -> Ending:
            return Ending(
                task=task, suite=suite, outcome=outcome, reason=reason, engine=self._worker.info,
                started_at=started_at, finished_at=time.time(),
            )  # fmt: skip

        candidate = task.candidate
        if candidate and candidate.rejected:
            return end(Outcome.REJECTED, candidate.rejected)
        if candidate and candidate.skipped:
            return end(Outcome.SKIPPED, candidate.skipped)
        if suite is None or not suite.cases:
            return end(Outcome.SKIPPED, f"no test cases in {self._settings.suite_path}")
        try:
            reply = self._work(task, suite, attempt)
        except EngineError as error:
            reply = Failed(FailureKind.ATTEMPT, error.message, error.hint)
        if isinstance(reply, Failed):
            failure = self._outcome_of(task, reply, attempt)
            return end(*failure) if failure else None
        return Ending(
            task=task,
            suite=suite,
            outcome=Outcome.EVALUATED,
            cases=tuple(attempt.finished[case.id] for case in suite.cases),
            engine=self._worker.info,
            started_at=started_at,
            finished_at=time.time(),
            attempts=attempt.failures + 1,
            work=reply,
        )

    def _work(self, task: Task, suite: Suite, attempt: Attempt) -> Finished | Failed:
        if attempt.finished:
            log.info("%s: %d finished cases are kept", task.identity.label, len(attempt.finished))
        self._on_progress(task, attempt.finished, len(suite.cases))

        def on_case(done: CaseDone) -> None:
            attempt.add(done.result)
            self._on_progress(task, attempt.finished, len(suite.cases))

        def on_progress(progress: Progress) -> None:
            self._on_progress(task, attempt.finished, len(suite.cases))

        return self._worker.run(self._assignment(task, suite, attempt), on_case, on_progress)

    def _assignment(self, task: Task, suite: Suite, attempt: Attempt) -> Assignment:
        candidate = task.candidate
        marker = candidate.marker if candidate else None
        return Assignment(
            label=task.identity.label,
            sources=candidate.sources if candidate else (),
            files=marker.files if marker else None,
            suite_path=self._settings.suite_path,
            suite_sha256=suite.sha256,
            decoding=self._settings.decoding,
            done=tuple(attempt.finished),
            paces=tuple(model.pace for model in self._settings.place.model_folders()),
            deadline_seconds=self._settings.deadline_seconds,
        )

    def _outcome_of(self, task: Task, failed: Failed, attempt: Attempt) -> tuple[Outcome, str] | None:
        """The outcome of a failure and its reason; None while it only costs an attempt, which is counted."""
        label = task.identity.label
        reason = f"{failed.message} ({failed.hint})" if failed.hint else failed.message
        if failed.failure is FailureKind.REJECTED:
            return Outcome.REJECTED, reason
        if failed.failure is FailureKind.VANISHED:
            return Outcome.VANISHED, reason
        if failed.failure is FailureKind.DEADLINE:
            log.error("%s: %s", label, reason)
            return Outcome.ERROR, reason
        count = attempt.record_failure(reason)
        log.error("%s: attempt %d of %d failed: %s", label, count, MAX_ATTEMPTS, reason)
        if count < MAX_ATTEMPTS:
            return None
        return Outcome.ERROR, f"{count} attempts failed; the last: {reason}"
