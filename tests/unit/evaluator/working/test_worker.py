"""The worker around an engine that answers from a table: deadline, rest, parking, and what each failure becomes."""

from __future__ import annotations

import json
import queue
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from sidestep.evaluator.cases.exchange import Answer, Decoding, EngineInfo, Request
from sidestep.evaluator.engine.protocol import OnAnswer, OnStep
from sidestep.evaluator.sharing.governor import Governor
from sidestep.evaluator.sharing.policy import Policy
from sidestep.evaluator.suite.loading import load_suite
from sidestep.evaluator.working.messages import Assignment, CaseDone, Event, FailureKind, Finished
from sidestep.evaluator.working.worker import Worker, failure_of
from sidestep.evaluator.working.worker_loop import next_assignment
from sidestep.shared import errors
from sidestep.shared.errors import DeadlinePassed


class TableEngine:
    """Answers "yes" to everything, asking the hook before each answer."""

    info = EngineInfo(base_model="base", base_fingerprint="f" * 64, device="cpu", dtype="float32")

    def __init__(self, before_each: Callable[[int], None] = lambda number: None) -> None:
        self._before_each = before_each
        self.log: list[str] = []

    def attach(self, folder: Path) -> None:
        self.log.append("attach")

    def detach(self) -> None:
        self.log.append("detach")

    def set_training_active(self, active: bool) -> None:
        self.log.append("beside a training" if active else "alone")

    def park(self) -> None:
        self.log.append("park")

    def answer(
        self,
        requests: Sequence[Request],
        decoding: Decoding,
        on_answer: OnAnswer,
        on_step: OnStep,
        plan_for: Sequence[Request] = (),
    ) -> None:
        for number, request in enumerate(requests):
            self._before_each(number)
            on_step(number)
            on_answer(Answer(request.case_id, "yes", 1, 1, "stop", 0.0))


@pytest.fixture
def assignment(tmp_path: Path) -> Assignment:
    path = tmp_path / "test_cases.json"
    cases = [{"id": f"c{n}", "prompt": "?", "checks": [{"scorer": "exact", "value": "yes"}]} for n in range(4)]
    path.write_text(json.dumps({"test_suite": "s", "version": "1", "test_cases": cases}))
    return assignment_of(path, load_suite(path).sha256)


def assignment_of(path: Path, sha256: str = "", deadline_seconds: float | None = None) -> Assignment:
    return Assignment(
        label="base", sources=(), files=None, suite_path=path, suite_sha256=sha256, decoding=Decoding(),
        deadline_seconds=deadline_seconds,
    )  # fmt: skip


def worker_for(engine: TableEngine, events: list[Event], clock: Callable[[], float] = time.monotonic) -> Worker:
    return Worker(engine, events.append, Governor(Policy(None)), clock)


def test_all_cases_are_answered_and_the_cost_is_told(assignment: Assignment) -> None:
    events: list[Event] = []
    engine = TableEngine()
    worker_for(engine, events).evaluate(assignment)
    assert sum(isinstance(event, CaseDone) for event in events) == 4
    assert isinstance(events[-1], Finished) and events[-1].sharing.slowdown is None
    assert engine.log == ["alone", "detach"]


def test_a_deadline_ends_the_evaluation_and_restores_the_base(assignment: Assignment) -> None:
    now = [100.0]

    def slow(number: int) -> None:
        now[0] += 10

    events: list[Event] = []
    engine = TableEngine(slow)
    late = replace(assignment, deadline_seconds=25.0)
    with pytest.raises(DeadlinePassed) as caught:
        worker_for(engine, events, lambda: now[0]).evaluate(late)
    assert sum(isinstance(event, CaseDone) for event in events) == 2
    assert engine.log == ["alone", "detach"]
    assert failure_of(caught.value).failure is FailureKind.DEADLINE


def test_an_idle_worker_leaves_the_device_before_it_waits_on() -> None:
    engine, work = TableEngine(), assignment_of(Path("s"))

    class Inbox(queue.Queue[Assignment]):
        def get(self, block: bool = True, timeout: float | None = None) -> Assignment:
            if timeout is not None:
                raise queue.Empty
            assert engine.log == ["park"]
            return work

    assert next_assignment(Inbox(), engine) is work


def test_a_busy_worker_stays() -> None:
    engine, work = TableEngine(), assignment_of(Path("s"))
    inbox: queue.Queue[Assignment] = queue.Queue()
    inbox.put(work)
    assert next_assignment(inbox, engine) is work and engine.log == []


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (errors.CheckpointRejected("x"), FailureKind.REJECTED),
        (errors.CheckpointVanished("x"), FailureKind.VANISHED),
        (errors.BaseModelError("x"), FailureKind.FATAL),
        (errors.ConfigError("x"), FailureKind.FATAL),
        (errors.DeviceOutOfMemory("x"), FailureKind.ATTEMPT),
        (errors.SuiteError("x"), FailureKind.ATTEMPT),
    ],
)
def test_kinds_of_failure(error: errors.SidestepError, failure: FailureKind) -> None:
    assert failure_of(error).failure is failure
