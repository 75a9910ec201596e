"""A worker that is there when needed: started on demand, watched for silence, replaced when it dies."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from sidestep.evaluator.cases.exchange import EngineInfo
from sidestep.evaluator.watching.wakeup import Wakeup, wait_for_any
from sidestep.evaluator.working.messages import (
    Assignment,
    CaseDone,
    Event,
    Failed,
    FailureKind,
    Finished,
    Progress,
    Ready,
    Start,
)
from sidestep.evaluator.working.worker_process import WorkerProcess
from sidestep.shared.errors import BaseModelError, EngineError
from sidestep.shared.logs import get_logger

log = get_logger("evaluator.worker")

TICK_SECONDS = 1.0


class WorkerDied(EngineError):
    """The worker's process ended by itself, or was ended because it hung."""


class StopRequested(Exception):
    """The evaluator was asked to stop while the worker was busy."""


@dataclass(frozen=True)
class Surroundings:
    """What the waiting supervisor reacts to besides the worker."""

    wakeup: Wakeup
    should_stop: Callable[[], bool]
    tick: Callable[[], None]  # called at least once a second while waiting


class _Silence:
    """Time since the worker was last heard of, and whether it means that the worker hangs.

    A worker beside a training that fills the processor may be starved for long: then it wants the processor and gets
    little of it. That is forgiven, for ten times as long.
    """

    STARVED_SHARE = 0.25  # of one processor
    STARVED_FACTOR = 10

    def __init__(self, process: WorkerProcess, limit: float) -> None:
        self._process = process
        self._limit = limit
        self._since = time.monotonic()
        self._cpu_then = process.cpu_seconds()

    def means_hung(self) -> bool:
        seconds = time.monotonic() - self._since
        if seconds <= self._limit:
            return False
        share = (self._process.cpu_seconds() - self._cpu_then) / seconds
        starved = self._process.wants_cpu() and share < self.STARVED_SHARE
        return not starved or seconds > self.STARVED_FACTOR * self._limit


class ModelWorker:
    """One worker process at a time. ``stall_seconds``: silence after which a worker counts as hung and is killed."""

    def __init__(
        self, start: Start, surroundings: Surroundings, stall_seconds: float, *, own_session: bool = True
    ) -> None:
        self._start = start
        self._own_session = own_session
        self._surroundings = surroundings
        self._stall_seconds = stall_seconds
        self._process: WorkerProcess | None = None
        self._info: EngineInfo | None = None
        self._number = 0  # of the assignment that it works on

    @property
    def info(self) -> EngineInfo | None:
        """The engine's description while a worker is there."""
        return self._info

    def ready(self) -> EngineInfo:
        """The engine's description, starting a worker where there is none.

        Raises BaseModelError when no worker can ever start as things are, EngineError when this one did not: neither
        says anything about a checkpoint.
        """
        if self._process and self._info and self._process.alive:
            return self._info
        self.close()
        self._process = WorkerProcess.start(own_session=self._own_session)
        self._process.send(self._start)
        for event in self._events():
            if isinstance(event, Ready):
                self._info = event.info
                return event.info
            if isinstance(event, Failed):
                self.close()
                if event.failure is FailureKind.FATAL:
                    raise BaseModelError(event.message, hint=event.hint)
                raise EngineError(event.message, hint=event.hint)
        raise AssertionError("the stream of events ends with an exception")

    def run(
        self, assignment: Assignment, on_case: Callable[[CaseDone], None], on_progress: Callable[[Progress], None]
    ) -> Finished | Failed:
        """Have one checkpoint evaluated. Raises EngineError when the worker dies or hangs, StopRequested on a stop."""
        self.ready()
        assert self._process is not None
        self._number += 1
        self._process.send(replace(assignment, number=self._number))
        for event in self._events():
            if isinstance(event, Failed) and event.worker_ends:
                self.close()  # the next checkpoint must not pay for this one
                return event
            if isinstance(event, Ready) or event.number != self._number:
                continue  # of an assignment that was given up
            if isinstance(event, CaseDone):
                self._keep(on_case, event)
            elif isinstance(event, Progress):
                on_progress(event)
            else:
                return event
        raise AssertionError("the stream of events ends with an exception")

    def _keep(self, on_case: Callable[[CaseDone], None], event: CaseDone) -> None:
        """Hand a finished case over. A worker whose cases cannot be kept answers the rest for nobody: it is ended."""
        try:
            on_case(event)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """End the worker, whatever it is doing; what it finished is already kept."""
        if self._process:
            self._process.kill()
        self._process, self._info = None, None

    def _events(self) -> Iterator[Event]:
        assert self._process is not None
        silence = _Silence(self._process, self._stall_seconds)
        while True:
            if self._surroundings.should_stop():
                raise StopRequested
            events = self._process.receive()
            if events is None:
                how = self._process.exit_description()
                self.close()
                raise WorkerDied(f"the worker died ({how})")
            yield from events
            if events:
                silence = _Silence(self._process, self._stall_seconds)
            elif silence.means_hung():
                self.close()
                raise WorkerDied(f"the worker made no progress for {self._stall_seconds:.0f} s and was killed")
            self._surroundings.tick()
            wait_for_any(self._surroundings.wakeup, (self._process.events,), TICK_SECONDS)
