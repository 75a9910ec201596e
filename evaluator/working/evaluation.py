"""One outcome, from claim to commit: run what is not finished, decide how it ended, hand the report over.

claimed -> (worker: loading, answering) -> evaluated | rejected | vanished | failed attempt
three failed attempts -> exhausted (error, once that is known to be the checkpoint's fault)
does not fit this base model, nothing could be decided -> set aside: pending, and no fault of the checkpoint's
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from sidestep.evaluator.cases.case import Suite
from sidestep.evaluator.cases.exchange import EngineInfo
from sidestep.evaluator.cases.result import CaseResult, CaseStatus
from sidestep.evaluator.settings import EvaluatorSettings
from sidestep.evaluator.watching.tasks import Task
from sidestep.evaluator.working.attempts import MAX_ATTEMPTS, Attempt
from sidestep.evaluator.working.messages import Assignment, CaseDone, Failed, FailureKind, Finished, Progress
from sidestep.evaluator.working.model_worker import ModelWorker
from sidestep.shared.errors import EngineError
from sidestep.shared.logs import get_logger
from sidestep.shared.protocol.layout import BASE_REPORT_NAME
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


class Left(StrEnum):
    """How an evaluation came to no end."""

    RETRY = "retry"  # a failed attempt, to be repeated later
    EXHAUSTED = "exhausted"  # the last attempt failed
    SET_ASIDE = "set aside"  # another attempt in this run would go the same way


@dataclass(frozen=True)
class Unended:
    """An evaluation that came to no end, and why."""

    left: Left
    reason: str


OnProgress = Callable[[Task, Mapping[str, CaseResult], int], None]  # task, finished cases, cases in all


class Evaluation:
    """Reaches the ending of one task with the help of a worker."""

    def __init__(self, settings: EvaluatorSettings, worker: ModelWorker, on_progress: OnProgress) -> None:
        self._settings = settings
        self._worker = worker
        self._on_progress = on_progress

    def run(self, task: Task, suite: Suite, attempt: Attempt) -> Ending | Unended:
        """Evaluate as far as possible. The worker must be ready.

        Raises StopRequested when asked to stop, OSError when finished cases cannot be kept.
        """
        started_at = time.time()
        candidate = task.candidate
        if candidate and candidate.rejected:
            return self._end(task, suite, Outcome.REJECTED, candidate.rejected, started_at)
        if candidate and candidate.skipped:
            return self._end(task, suite, Outcome.SKIPPED, candidate.skipped, started_at)
        try:
            reply = self._work(task, suite, attempt)
        except EngineError as error:
            reply = Failed(FailureKind.ATTEMPT, error.message, error.hint)
        if isinstance(reply, Failed):
            failure = self._outcome_of(task, reply, attempt)
            return failure if isinstance(failure, Unended) else self._end(task, suite, *failure, started_at)
        if problem := why_not_committable(suite, attempt.finished):
            attempt.forget_cases()
            return Unended(Left.SET_ASIDE, problem)
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

    def end_in_error(self, task: Task, suite: Suite, reason: str) -> Ending:
        """The ending of an exhausted task whose fault it is."""
        return self._end(task, suite, Outcome.ERROR, reason, time.time())

    def can_answer(self, suite: Suite) -> bool:
        """Whether the base model answers one case: then it is not the evaluator that fails. Nothing is kept of it."""
        first, *others = suite.cases
        answered: list[CaseDone] = []
        control = replace(self._base_assignment(suite), done=tuple(case.id for case in others))
        log.info("trying %s with the base model, to tell the evaluator's faults from a checkpoint's", first.id)
        try:
            self._worker.run(control, answered.append, lambda progress: None)
        except EngineError as error:
            log.error("the base model cannot be evaluated either: %s", error)
        return bool(answered)

    def _end(self, task: Task, suite: Suite, outcome: Outcome, reason: str | None, started_at: float) -> Ending:
        return Ending(
            task=task, suite=suite, outcome=outcome, reason=reason, engine=self._worker.info, started_at=started_at,
            finished_at=time.time(),
        )  # fmt: skip

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
        assignment = replace(self._base_assignment(suite), label=task.identity.label, done=tuple(attempt.finished))
        if task.candidate is None or task.candidate.marker is None:
            return assignment
        return replace(assignment, sources=task.candidate.sources, files=task.candidate.marker.files)

    def _base_assignment(self, suite: Suite) -> Assignment:
        return Assignment(
            label=BASE_REPORT_NAME,
            sources=(),
            files=None,
            suite_path=self._settings.suite_path,
            suite_sha256=suite.sha256,
            decoding=self._settings.decoding,
            paces=tuple(model.pace for model in self._settings.place.model_folders()),
            deadline_seconds=self._settings.deadline_seconds,
        )

    def _outcome_of(self, task: Task, failed: Failed, attempt: Attempt) -> tuple[Outcome, str] | Unended:
        """The outcome of a failure and its reason, or why there is none; failed attempts are counted."""
        label = task.identity.label
        reason = f"{failed.message} ({failed.hint})" if failed.hint else failed.message
        if failed.failure is FailureKind.REJECTED:
            return Outcome.REJECTED, reason
        if failed.failure is FailureKind.VANISHED:
            return Outcome.VANISHED, reason
        if failed.failure is FailureKind.UNFIT:
            return Unended(Left.SET_ASIDE, reason)
        if failed.failure is FailureKind.DEADLINE:
            log.error("%s: %s", label, reason)
            return Unended(Left.EXHAUSTED, reason)
        count = attempt.record_failure(reason)
        log.error("%s: attempt %d of %d failed: %s", label, count, MAX_ATTEMPTS, reason)
        if count < MAX_ATTEMPTS:
            return Unended(Left.RETRY, reason)
        return Unended(Left.EXHAUSTED, f"{count} attempts failed; the last: {reason}")


def why_not_committable(suite: Suite, finished: Mapping[str, CaseResult]) -> str | None:
    """Why these results are not an evaluation by this suite; None when they are one. Pure."""
    missing = [case.id for case in suite.cases if case.id not in finished]
    if missing:
        return f"the worker left {len(missing)} of {len(suite.cases)} cases unanswered, {missing[0]} first"
    results = [finished[case.id] for case in suite.cases]
    if any(result.status is not CaseStatus.UNSCORED for result in results):
        return None
    details = (check.detail for result in results for check in result.checks if check.score is None)
    return f"no case could be decided: {next(details, 'no check gave a result')}"
