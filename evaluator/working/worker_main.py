"""The worker's process: the model lives here, and whatever it does, the supervisor survives it.

    python -m sidestep.evaluator.working.worker_main      (started by the supervisor only)

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
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, cast

from sidestep.evaluator.engine.protocol import Engine
from sidestep.evaluator.settings import EngineSettings
from sidestep.evaluator.sharing.governor import Governor
from sidestep.evaluator.sharing.policy import policy_for
from sidestep.evaluator.sharing.process_priority import ProcessPriority, die_with_parent
from sidestep.evaluator.working.messages import (
    Assignment,
    Event,
    Failed,
    FailureKind,
    Progress,
    Ready,
    Start,
    decode_command,
    encode,
)
from sidestep.evaluator.working.worker import Worker, failure_of
from sidestep.shared.errors import SidestepError
from sidestep.shared.logs import configure_logging, get_logger

PARK_SECONDS = 30.0  # without work for so long, a GPU's memory is given back

log = get_logger("evaluator.worker")


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
    try:
        _serve(start, inbox, send)
    except Exception as error:
        log.exception("unexpected error in the worker")
        last = traceback.format_exception_only(error)[-1].strip()
        send(Failed(FailureKind.ATTEMPT, f"unexpected error: {last}", worker_ends=True))
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


def _serve(start: Start, inbox: queue.Queue[Assignment], send: Callable[[Event], None]) -> None:
    """Load the base model and evaluate what comes; returns only when it cannot be loaded."""
    governor = _create_governor(start)
    governor.begin_loading()
    try:
        engine = create_engine(start.factory, start.settings)
    except SidestepError as error:
        send(failure_of(error))
        return
    governor.end_loading()
    send(Ready(engine.info))
    worker = Worker(engine, send, governor, time.monotonic)
    while True:
        assignment = next_assignment(inbox, engine)
        try:
            worker.evaluate(assignment)
        except SidestepError as error:
            send(failure_of(error))


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


if __name__ == "__main__":
    main()
