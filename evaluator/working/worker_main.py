"""The worker's process: the model lives here, and whatever it does, the supervisor survives it.

    python -m sidestep.evaluator.working.worker_main      (started by the supervisor only)

Commands come as lines on standard input, events go as lines to what was standard output; anything a library prints
goes to standard error. All that evaluations need is imported before the supervisor claims anything. When the supervisor
dies, the kernel and the closed pipe both end this process. After an unexpected error it reports and exits: a fresh
process is cheaper than a poisoned one.
"""

from __future__ import annotations

import importlib
import os
import queue
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from sidestep.evaluator.sharing.process_priority import die_with_parent
from sidestep.evaluator.working.messages import (
    Assignment,
    Event,
    Failed,
    FailureKind,
    Progress,
    Start,
    decode_command,
    encode,
)
from sidestep.shared.logs import configure_logging, get_logger

START_HINT = "install what is missing: pip install 'sidestep[evaluator]'"

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
        loop = importlib.import_module("sidestep.evaluator.working.worker_loop")
        worker = loop.start_worker(start, send)
    except Exception as error:  # a package that is missing or broken would meet every checkpoint
        log.exception("unexpected error while the worker starts")
        send(Failed(FailureKind.FATAL, f"the evaluator's worker cannot start: {_last_line(error)}", START_HINT))
        sys.exit(1)
    if worker is None:
        return
    try:
        loop.serve(worker, inbox, send)
    except Exception as error:
        log.exception("unexpected error in the worker")
        send(Failed(FailureKind.ATTEMPT, f"unexpected error: {_last_line(error)}", worker_ends=True))
        sys.exit(1)


def _last_line(error: Exception) -> str:
    return traceback.format_exception_only(error)[-1].strip()


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
