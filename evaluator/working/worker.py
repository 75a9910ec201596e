"""What the worker does with one assignment: verify, attach, answer, score, detach. Runs in the worker's process."""

from __future__ import annotations

import time
from collections.abc import Callable

from sidestep.evaluator.cases.case import Suite
from sidestep.evaluator.cases.exchange import Answer, Request
from sidestep.evaluator.cases.result import CaseResult, NoiseFloor
from sidestep.evaluator.engine.protocol import Engine, OnStep
from sidestep.evaluator.sharing.governor import Governor
from sidestep.evaluator.suite.loading import load_suite
from sidestep.evaluator.suite.scoring import score_answer
from sidestep.evaluator.working.messages import Assignment, CaseDone, Event, Failed, FailureKind, Finished, Progress
from sidestep.evaluator.working.noise import measure_noise
from sidestep.evaluator.working.verify import verify_sources
from sidestep.shared.errors import (
    BaseModelError,
    BaseModelMismatch,
    CheckpointRejected,
    CheckpointVanished,
    ConfigError,
    DeadlinePassed,
    EngineError,
    SidestepError,
)

PROGRESS_SECONDS = 1.0


class Worker:
    """Evaluates one assignment after another with a resident engine."""

    def __init__(
        self,
        engine: Engine,
        send: Callable[[Event], None],
        governor: Governor,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.engine = engine
        self._send = send
        self._governor = governor
        self._clock = clock
        self._suite: Suite | None = None

    def evaluate(self, assignment: Assignment) -> None:
        """Answer and score every case that is not done yet. Raises what ``failure_of`` understands."""
        suite = self._suite_of(assignment)
        self._governor.begin_evaluation(assignment.paces)
        self.engine.set_training_active(self._governor.training_active)
        on_step = self._step_hook(assignment, self._clock())
        try:
            on_step(0)  # attaching is work beside training, too, and waits for its turn
            begin = self._clock()
            self._send(Progress("loading", number=assignment.number))
            self._attach(assignment)
            attached = self._clock()
            noise = self._answer(assignment, suite, on_step)
        finally:
            self.engine.detach()
            sharing = self._governor.end_evaluation()
        answered = self._clock()
        self._send(Finished(attached - begin, answered - attached, sharing, noise, assignment.number))

    def _suite_of(self, assignment: Assignment) -> Suite:
        if self._suite is None or self._suite.sha256 != assignment.suite_sha256:
            self._suite = load_suite(assignment.suite_path)
        if self._suite.sha256 != assignment.suite_sha256:
            raise EngineError(f"{assignment.suite_path} changed between planning and evaluation")
        return self._suite

    def _attach(self, assignment: Assignment) -> None:
        if assignment.files is None:
            return
        same_base = assignment.trained_on == self.engine.info.base_fingerprint
        for folder in verify_sources(assignment.sources, assignment.files):
            try:
                self.engine.attach(folder)
            except CheckpointVanished:
                continue  # rotated away while loading; the next source may still have it
            except BaseModelMismatch as error:
                if same_base:  # then it is not the base model's fault
                    raise CheckpointRejected(error.message, hint=error.hint) from error
                raise
            return

    def _answer(self, assignment: Assignment, suite: Suite, on_step: OnStep) -> NoiseFloor:
        """Answer and score what is not done; returns how far the same answers differ from each other."""
        cases = {case.id: case for case in suite.cases}
        requests = [Request(case.id, case.messages, case.max_new_tokens, case.reference) for case in suite.cases]
        results: dict[str, CaseResult] = {}

        def score(answer: Answer) -> CaseResult:
            return score_answer(cases[answer.case_id], answer, assignment.suite_path.parent)

        def on_answer(answer: Answer) -> None:
            results[answer.case_id] = score(answer)
            self._send(CaseDone(assignment.number, results[answer.case_id]))

        done = set(assignment.done)
        left = [request for request in requests if request.case_id not in done]
        self.engine.answer(left, assignment.decoding, on_answer, on_step, plan_for=requests)
        if self.engine.info.exact:
            return NoiseFloor(0.0, len(cases), "answers are bit-identical in every layout tried at start")
        return measure_noise(
            self.engine,
            left,
            assignment.decoding,
            on_step,
            first={case_id: result.status for case_id, result in results.items()},
            score=lambda answer: score(answer).status,
        )

    def _step_hook(self, assignment: Assignment, begin: float) -> OnStep:
        """What happens between two steps: the deadline, a sign of life, and the governor's pauses."""
        reported = 0.0

        def check(tokens: int) -> None:
            nonlocal reported
            now = self._clock()
            if assignment.deadline_seconds is not None and now - begin > assignment.deadline_seconds:
                raise DeadlinePassed(
                    f"the deadline of {assignment.deadline_seconds:g} s passed before every case was answered",
                    hint="raise --deadline, shorten the suite, or allow training to lose more with --max-slowdown",
                )
            if now - reported >= PROGRESS_SECONDS:
                reported = now
                self._send(Progress("answering", tokens, assignment.number))

        def on_step(tokens: int) -> None:
            check(tokens)
            self._governor.wait_for_turn(lambda: check(tokens))

        return on_step


def failure_of(error: SidestepError, number: int = 0) -> Failed:
    """Which kind of failure an error is, for assignment ``number``. Pure."""
    if isinstance(error, BaseModelMismatch):
        kind = FailureKind.UNFIT
    elif isinstance(error, CheckpointRejected):
        kind = FailureKind.REJECTED
    elif isinstance(error, CheckpointVanished):
        kind = FailureKind.VANISHED
    elif isinstance(error, DeadlinePassed):
        kind = FailureKind.DEADLINE
    elif isinstance(error, (BaseModelError, ConfigError)):
        kind = FailureKind.FATAL
    else:
        kind = FailureKind.ATTEMPT
    return Failed(kind, error.message, error.hint, number)
