"""The worker process: holds the model, evaluates what it is assigned, and is expendable.

    python -m sidestep.evaluator.working.worker      (started by the supervisor only)

Commands come as lines on standard input, events go as lines to what was standard output; anything a library prints
goes to standard error. When the supervisor dies, the kernel and the closed pipe both end this process. After an
unexpected error it reports and exits: a fresh process is cheaper than a poisoned one.
"""

from __future__ import annotations

import importlib
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO, cast

from sidestep.evaluator.cases.case import Suite
from sidestep.evaluator.cases.exchange import Answer, Request
from sidestep.evaluator.cases.result import CaseResult, NoiseFloor
from sidestep.evaluator.engine.protocol import Engine, OnStep
from sidestep.evaluator.settings import EngineSettings
from sidestep.evaluator.sharing.governor import Governor, policy_for
from sidestep.evaluator.sharing.process_priority import ProcessorShare, die_with_parent
from sidestep.evaluator.suite.loading import load_suite
from sidestep.evaluator.suite.scoring import score_answer
from sidestep.evaluator.working.messages import (
    Assignment,
    CaseDone,
    Event,
    Failed,
    Finished,
    Progress,
    Ready,
    Start,
    decode_command,
    encode,
)
from sidestep.evaluator.working.verify import verified_sources
from sidestep.shared.errors import (
    BaseModelError,
    CheckpointRejected,
    CheckpointVanished,
    ConfigError,
    DeadlinePassed,
    EngineError,
    SidestepError,
)
from sidestep.shared.logs import configure_logging, get_logger

PROGRESS_SECONDS = 1.0
NOISE_CASES = 32  # answered twice where answers may depend on their company
NOISE_COMPANY = 3
PARK_SECONDS = 30.0  # without work for so long, a GPU's memory is given back

log = get_logger("evaluator.worker")


class Worker:
    """Evaluates one assignment after another with a resident engine."""

    def __init__(self, engine: Engine, send: Callable[[Event], None], governor: Governor) -> None:
        self._engine = engine
        self._send = send
        self._governor = governor
        self._suite: Suite | None = None

    def evaluate(self, assignment: Assignment) -> None:
        """Answer and score every case that is not done yet. Raises what ``failure_of`` understands."""
        suite = self._suite_of(assignment)
        self._governor.begin(assignment.paces)
        self._engine.set_training_active(self._governor.training)
        on_step = self._hook(assignment, time.monotonic())
        try:
            on_step(0)  # attaching is work beside training, too, and waits for its turn
            begin = time.monotonic()
            self._send(Progress("loading"))
            self._attach(assignment)
            attached = time.monotonic()
            noise = self._answer(assignment, suite, on_step)
        finally:
            self._engine.detach()
            sharing = self._governor.end()
        self._send(Finished(attached - begin, time.monotonic() - attached, sharing, noise))

    def _suite_of(self, assignment: Assignment) -> Suite:
        if self._suite is None or self._suite.sha256 != assignment.suite_sha256:
            self._suite = load_suite(assignment.suite_path)
        if self._suite.sha256 != assignment.suite_sha256:
            raise EngineError(f"{assignment.suite_path} changed between planning and evaluation")
        return self._suite

    def _attach(self, assignment: Assignment) -> None:
        if assignment.files is None:
            return
        for folder in verified_sources(assignment.sources, assignment.files):
            try:
                self._engine.attach(folder)
            except CheckpointVanished:
                continue  # rotated away while loading; the next source may still have it
            return

    def _answer(self, assignment: Assignment, suite: Suite, on_step: OnStep) -> NoiseFloor:
        cases = {case.id: case for case in suite.cases}
        requests = [Request(case.id, case.messages, case.max_new_tokens, case.reference) for case in suite.cases]
        answers: list[Answer] = []

        def score(answer: Answer) -> CaseResult:
            return score_answer(cases[answer.case_id], answer, assignment.suite_path.parent)

        def on_answer(answer: Answer) -> None:
            answers.append(answer)
            self._send(CaseDone(score(answer)))

        done = set(assignment.done)
        todo = [request for request in requests if request.case_id not in done]
        self._engine.answer(todo, assignment.decoding, on_answer, on_step, plan_for=requests)
        if self._engine.info.exact:
            return NoiseFloor(0.0, len(cases), "answers are bit-identical in every layout tried at start")
        again = noise_sample(todo)
        before = {answer.case_id: score(answer).status for answer in answers}
        flips = [0]

        def compare(answer: Answer) -> None:
            flips[0] += score(answer).status is not before[answer.case_id]

        # alone or nearly so, and without the whole suite's plan: as different a layout as there is
        for start in range(0, len(again), NOISE_COMPANY):
            self._engine.answer(again[start : start + NOISE_COMPANY], assignment.decoding, compare, on_step)
        how = f"measured: the same cases again, {NOISE_COMPANY} at a time"
        return NoiseFloor(flips[0] / len(again), len(again), how) if again else NoiseFloor()

    def _hook(self, assignment: Assignment, begin: float) -> OnStep:
        """What happens between two steps: the deadline, a sign of life, and the governor's pauses."""
        reported = 0.0

        def still_there(tokens: int) -> None:
            nonlocal reported
            now = time.monotonic()
            if assignment.deadline_seconds is not None and now - begin > assignment.deadline_seconds:
                raise DeadlinePassed(
                    f"the deadline of {assignment.deadline_seconds:g} s passed before every case was answered",
                    hint="raise --deadline, shorten the suite, or allow training to lose more with --max-slowdown",
                )
            if now - reported >= PROGRESS_SECONDS:
                reported = now
                self._send(Progress("answering", tokens))

        def on_step(tokens: int) -> None:
            still_there(tokens)
            self._governor.between_steps(lambda: still_there(tokens))

        return on_step


def noise_sample(requests: Sequence[Request]) -> list[Request]:
    """At most NOISE_CASES requests, spread over the suite. Pure."""
    step = max(1, -(-len(requests) // NOISE_CASES))
    return list(requests[::step])


def failure_of(error: SidestepError) -> Failed:
    """Which kind of failure an error is. Pure."""
    if isinstance(error, CheckpointRejected):
        return Failed("rejected", error.message, error.hint)
    if isinstance(error, CheckpointVanished):
        return Failed("vanished", error.message, error.hint)
    if isinstance(error, DeadlinePassed):
        return Failed("deadline", error.message, error.hint)
    if isinstance(error, (BaseModelError, ConfigError)):
        return Failed("fatal", error.message, error.hint)
    return Failed("attempt", error.message, error.hint)


def runs_on_cpu(device: str) -> bool:
    """Whether this device setting means the CPU here; decided before torch is loaded."""
    return device == "cpu" or (device == "auto" and not Path("/dev/nvidiactl").exists())


def create_engine(factory: str, settings: EngineSettings) -> Engine:
    """Build an engine from ``module:function``."""
    module, _, function = factory.partition(":")
    return cast(Engine, getattr(importlib.import_module(module), function)(settings))


def main() -> None:
    """Serve commands until standard input closes."""
    die_with_parent(os.getppid())
    commands, send = _connect()
    start = decode_command(commands.readline())
    if not isinstance(start, Start):
        raise SystemExit("the first command must be a start")
    configure_logging(json_lines=start.log_json)
    send(Progress("loading the base model"))
    inbox: queue.Queue[Assignment] = queue.Queue()
    threading.Thread(target=_read_commands, args=(commands, inbox), daemon=True).start()
    _guarded(lambda: _serve(start, inbox, send), send)


def _serve(start: Start, inbox: queue.Queue[Assignment], send: Callable[[Event], None]) -> None:
    on_cpu = runs_on_cpu(start.settings.device)
    share = ProcessorShare() if on_cpu else None
    governor = Governor(
        policy_for(start.max_slowdown, on_cpu=on_cpu, bursts=share is not None and share.can_change),
        share=share,
        processor=time.process_time if on_cpu else time.monotonic,
    )
    if share:
        log.info("the evaluator's worker runs with %s: training has the CPU first", share.words)
    governor.start()
    try:
        engine = create_engine(start.factory, start.settings)
    except SidestepError as error:
        send(failure_of(error))
        return
    governor.started()
    send(Ready(engine.info))
    worker = Worker(engine, send, governor)
    while True:
        assignment = next_assignment(inbox, engine)
        try:
            worker.evaluate(assignment)
        except SidestepError as error:
            send(failure_of(error))


def next_assignment(inbox: queue.Queue[Assignment], engine: Engine, park_after: float = PARK_SECONDS) -> Assignment:
    """Wait for work; an engine that has none for a while leaves the device meanwhile."""
    try:
        return inbox.get(timeout=park_after)
    except queue.Empty:
        engine.park()
        return inbox.get()


def _guarded(serve: Callable[[], None], send: Callable[[Event], None]) -> None:
    """An unexpected error is told to the supervisor, logged with its traceback, and ends the process."""
    try:
        serve()
    except Exception as error:
        log.exception("unexpected error in the worker")
        last = traceback.format_exception_only(error)[-1].strip()
        send(Failed("attempt", f"unexpected error: {last}", worker_ends=True))
        sys.exit(1)


def _connect() -> tuple[BinaryIO, Callable[[Event], None]]:
    """Take the pipes for ourselves, and point standard output at standard error for everybody else."""
    commands = os.fdopen(os.dup(0), "rb")
    events = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    lock = threading.Lock()

    def send(event: Event) -> None:
        with lock:
            events.write(encode(event))

    return commands, send


def _read_commands(commands: BinaryIO, inbox: queue.Queue[Assignment]) -> None:
    for line in commands:
        command = decode_command(line)
        if isinstance(command, Assignment):
            inbox.put(command)
    os._exit(0)  # the supervisor is gone, whatever the main thread is doing


if __name__ == "__main__":
    main()
