"""What a worker does between its start and its end: load everything, then evaluate one assignment after another."""

from __future__ import annotations

import importlib
import queue
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

from sidestep.evaluator.engine.protocol import Engine
from sidestep.evaluator.settings import EngineSettings
from sidestep.evaluator.sharing.governor import Governor
from sidestep.evaluator.sharing.policy import policy_for
from sidestep.evaluator.sharing.process_priority import ProcessPriority
from sidestep.evaluator.working.messages import Assignment, Event, Ready, Start
from sidestep.evaluator.working.worker import Worker, failure_of
from sidestep.shared.errors import SidestepError
from sidestep.shared.logs import get_logger

PARK_SECONDS = 30.0  # without work for so long, a GPU's memory is given back

log = get_logger("evaluator.worker")


def start_worker(start: Start, send: Callable[[Event], None]) -> Worker | None:
    """Load the base model; None when that fails, which no checkpoint has caused."""
    governor = _create_governor(start)
    governor.begin_loading()
    try:
        engine = create_engine(start.factory, start.settings)
    except SidestepError as error:
        send(failure_of(error))
        return None
    governor.end_loading()
    send(Ready(engine.info))
    return Worker(engine, send, governor, clock=time.monotonic)


def serve(worker: Worker, inbox: queue.Queue[Assignment], send: Callable[[Event], None]) -> None:
    """Evaluate what comes, until the process ends."""
    while True:
        assignment = next_assignment(inbox, worker.engine)
        try:
            worker.evaluate(assignment)
        except SidestepError as error:
            send(failure_of(error, assignment.number))


def _create_governor(start: Start) -> Governor:
    """The governor for this device; on a CPU this process's priority is lowered."""
    on_cpu = runs_on_cpu(start.settings.device)
    if not on_cpu:
        return Governor(policy_for(start.max_slowdown, on_cpu=False), used_seconds=time.monotonic)
    priority = ProcessPriority.lower()
    log.info("the evaluator's worker runs with %s: training has the CPU first", priority.description)
    policy = policy_for(start.max_slowdown, on_cpu=True, bursts=priority.can_change)
    return Governor(policy, priority=priority, used_seconds=time.process_time)


def runs_on_cpu(device: str) -> bool:
    """Whether this device setting means the CPU here; decided before torch is loaded."""
    return device == "cpu" or (device == "auto" and not Path("/dev/nvidiactl").exists())


def create_engine(factory: str, settings: EngineSettings) -> Engine:
    """Build an engine from ``module:function``."""
    module, _, function = factory.partition(":")
    return cast(Engine, getattr(importlib.import_module(module), function)(settings))


def next_assignment(inbox: queue.Queue[Assignment], engine: Engine, park_after: float = PARK_SECONDS) -> Assignment:
    """Wait for work; an engine that has none for a while leaves the device meanwhile."""
    try:
        return inbox.get(timeout=park_after)
    except queue.Empty:
        engine.park()
        return inbox.get()
