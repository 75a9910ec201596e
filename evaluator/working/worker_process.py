"""The supervisor's end of a worker: start it, send to it, hear from it, kill it."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO, cast

from pydantic import ValidationError

from sidestep.evaluator.working.messages import Command, Event, decode_event, encode
from sidestep.shared.launch.processes import NEW_GROUP, NEW_SESSION
from sidestep.shared.logs import get_logger

log = get_logger("evaluator.worker")

KILL_SECONDS = 10.0


class WorkerProcess:
    """A worker in a process of its own, and out of reach of a Ctrl-C meant for the supervisor."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._partial = b""

    @classmethod
    def start(cls, *, own_session: bool = True) -> WorkerProcess:
        """Start one, by default in a session of its own: the kernel shares a processor between sessions first."""
        process = subprocess.Popen(
            [sys.executable, "-m", "sidestep.evaluator.working.worker_main"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            **(NEW_SESSION if own_session else NEW_GROUP),
        )
        worker = cls(process)
        os.set_blocking(worker.events.fileno(), False)
        return worker

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def events(self) -> IO[bytes]:
        """What becomes readable when the worker says something, or dies."""
        assert self._process.stdout is not None
        return self._process.stdout

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def send(self, command: Command) -> None:
        """Without effect on a dead worker: its closed pipe is noticed by ``receive``."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.write(encode(command))

    def receive(self) -> list[Event] | None:
        """Everything said since the last call, without waiting; None once the worker has closed its pipe."""
        events: list[Event] = []
        while True:
            chunk = cast("bytes | None", self.events.read(1 << 16))  # None: nothing to read right now
            if chunk is None:
                return events
            if not chunk:
                return events or None
            *lines, self._partial = (self._partial + chunk).split(b"\n")
            events += [event for line in lines if (event := _decode(line))]

    def cpu_seconds(self) -> float:
        """Processor time used so far; 0 where the system does not tell."""
        fields = self._stat()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") if fields else 0.0

    def wants_cpu(self) -> bool:
        """Whether it is running or waiting for a processor, as opposed to sleeping."""
        fields = self._stat()
        return bool(fields) and fields[0] == "R"

    def _stat(self) -> list[str]:
        """/proc/<pid>/stat from the state on."""
        try:
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return []

    def kill(self) -> None:
        """End the worker now and wait until it is gone."""
        self._process.kill()
        self._process.wait(KILL_SECONDS)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                with suppress(BrokenPipeError):
                    pipe.close()

    def exit_description(self) -> str:
        """How the process ended. Waits for its end."""
        code = self._process.wait(KILL_SECONDS)
        return f"killed by signal {-code}" if code < 0 else f"exit status {code}"


def _decode(line: bytes) -> Event | None:
    try:
        return decode_event(line)
    except ValidationError:
        log.error("the worker said something that is not an event: %.200r", line)
        return None
