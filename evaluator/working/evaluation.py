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
from sidestep.evaluator.cases.result import CaseResult, NoiseFloor, Sharing
from sidestep.evaluator.settings import EvaluatorSettings
from sidestep.evaluator.watching.tasks import Task
from sidestep.evaluator.working.attempts import MAX_ATTEMPTS, Attempt
from sidestep.evaluator.working.messages import Assignment, CaseDone, Failed, Finished, Progress
from sidestep.evaluator.working.model_worker import ModelWorker
from sidestep.shared.errors import EngineError
from sidestep.shared.logs import get_logger
from sidestep.shared.protocol.outcomes import Outcome

log = get_logger("evaluator")


@dataclass(frozen=True)
class Ending:
    """How an evaluation ended. Times are wall clock (for people) and seconds."""

    task: Task
    outcome: Outcome
    reason: str | None
    cases: tuple[CaseResult, ...]
    suite: Suite | None
    engine: EngineInfo | None
    started_at: float
    finished_at: float
    attach_seconds: float = 0.0
    generate_seconds: float = 0.0
    attempts: int = 1
    sharing: Sharing = field(default_factory=Sharing)
    noise: NoiseFloor = field(default_factory=NoiseFloor)


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
        started = time.time()
        candidate = task.candidate
        if candidate and (candidate.rejected or candidate.skipped):
            outcome = Outcome.REJECTED if candidate.rejected else Outcome.SKIPPED
            return self._ending(task, outcome, candidate.rejected or candidate.skipped, suite, started)
        if suite is None or not suite.cases:
            return self._ending(task, Outcome.SKIPPED, f"no test cases in {self._settings.suite_path}", suite, started)
        try:
            said = self._work(task, suite, attempt)
        except EngineError as error:
            said = Failed("attempt", error.message, error.hint)
        if isinstance(said, Failed):
            return self._failed(task, said, suite, attempt, started)
        cases = tuple(attempt.finished[case.id] for case in suite.cases)
        return Ending(
            task,
            Outcome.EVALUATED,
            None,
            cases,
            suite,
            self._worker.info,
            started,
            time.time(),
            said.attach_seconds,
            said.generate_seconds,
            attempt.failures + 1,
            said.sharing,
            said.noise,
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

    def _failed(self, task: Task, failed: Failed, suite: Suite, attempt: Attempt, started: float) -> Ending | None:
        reason = f"{failed.message} ({failed.hint})" if failed.hint else failed.message
        if failed.verdict in ("rejected", "vanished"):
            return self._ending(task, Outcome(failed.verdict), reason, suite, started)
        if failed.verdict == "deadline":
            log.error("%s: %s", task.identity.label, reason)
            return self._ending(task, Outcome.ERROR, reason, suite, started)
        count = attempt.record_failure(reason)
        log.error("%s: attempt %d of %d failed: %s", task.identity.label, count, MAX_ATTEMPTS, reason)
        if count < MAX_ATTEMPTS:
            return None
        return self._ending(task, Outcome.ERROR, f"{count} attempts failed; the last: {reason}", suite, started)

    def _ending(self, task: Task, outcome: Outcome, reason: str | None, suite: Suite | None, started: float) -> Ending:
        return Ending(task, outcome, reason, (), suite, self._worker.info, started, time.time())
