"""The pace of a training: when its recent steps began and ended, left where an evaluator can read it for nothing.

    <model-dir>/.pace.json      replaced atomically, at most once a second, by a thread of the trainer's process

The file is a hint and no part of the protocol: it is not synced, nothing is found or decided by it but how busy the
evaluator may be, and losing it costs nothing. Its times are of the monotonic clock, which all processes of one machine
share, containers included; ``machine`` tells an evaluator elsewhere that they mean nothing there.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from sidestep.shared.files import read_bounded, replace_file, to_json_line
from sidestep.shared.records import InvalidRecord, parse_record, record_document

KEPT_STEPS = 512
MAX_STEPS_READ = 4 * KEPT_STEPS
WRITE_SECONDS = 1.0  # at most one write in this time
BEAT_SECONDS = 5.0  # a write even when no step ended: the trainer is alive
STALE_SECONDS = 30.0  # without a write for so long, the trainer is taken for gone
STUCK_SECONDS = 1800.0  # alive but without a step for so long, it is not training
MAX_PACE_BYTES = 1 << 20
SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Pace:
    """A training as it was at ``written_at``. ``steps`` are (begin, end), oldest first. All times are in seconds of the
    monotonic clock.
    """

    schema_version: int = SCHEMA_VERSION
    machine: str
    process: int
    process_space: str = ""  # names the space in which ``process`` is a number; another container has another
    written_at: float
    training: bool
    steps: tuple[tuple[float, float], ...] = ()
    step: int | None = None  # the last one, as the training counts, and how many there will be: for people
    max_steps: int | None = None

    def __post_init__(self) -> None:
        if len(self.steps) > MAX_STEPS_READ:
            raise ValueError(f"steps: has {len(self.steps)} entries, not at most {MAX_STEPS_READ}")

    def is_running(self, now: float) -> bool:
        """Whether this training goes on beside us. ``now`` is of the monotonic clock."""
        if not self.training or self.machine != machine_name() or now - self.written_at > STALE_SECONDS:
            return False
        if self.process_space == process_space() and not Path(f"/proc/{self.process}").exists():
            return False
        return not self.steps or now - self.steps[-1][1] < STUCK_SECONDS

    def to_bytes(self) -> bytes:
        return to_json_line(record_document(self))


def read_pace(path: Path) -> Pace | None:
    """What the file says, or None when there is none that can be understood."""
    try:
        return parse_record(Pace, read_bounded(path, MAX_PACE_BYTES))
    except (OSError, InvalidRecord):
        return None


def machine_name() -> str:
    """The running kernel: where monotonic times can be compared. Empty where the system does not tell."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""


def process_space() -> str:
    """The space of process numbers that this process lives in; empty where the system does not tell."""
    with suppress(OSError):
        return str(Path("/proc/self/ns/pid").readlink())
    return ""


class PaceFile:
    """The trainer's side. The training thread only notes times; a thread of its own does the writing.

    It writes from ``start`` to ``close``, or while used as a context manager. A step lasts from the end of the one
    before, or from ``note_pause`` where something came between (a save, a validation).
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._steps: deque[tuple[float, float]] = deque(maxlen=KEPT_STEPS)
        self._since = clock()
        self._count: tuple[int | None, int | None] = None, None
        self._changed = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to write: there is a training, from now on."""
        self._since = self._clock()
        self._thread = threading.Thread(target=self._keep_writing, name="training-pace", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Say that training has ended."""
        self._closing.set()
        self._changed.set()
        if self._thread:
            self._thread.join()

    def __enter__(self) -> PaceFile:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def note_step(self, step: int | None = None, max_steps: int | None = None) -> None:
        """A step has ended; called on the training thread."""
        self._count = step, max_steps
        now = self._clock()
        self._steps.append((self._since, now))
        self._since = now
        self._changed.set()

    def note_pause(self) -> None:
        """What was done since the last step ended is not part of the next one."""
        self._since = self._clock()

    def _keep_writing(self) -> None:
        while not self._closing.is_set():
            self._write()
            self._closing.wait(WRITE_SECONDS)
            self._changed.wait(BEAT_SECONDS - WRITE_SECONDS)
            self._changed.clear()
        self._write()

    def _write(self) -> None:
        """Replace the file. A folder that cannot be written is no reason to disturb a training."""
        step, max_steps = self._count
        pace = Pace(
            machine=machine_name(),
            process=os.getpid(),
            process_space=process_space(),
            written_at=self._clock(),
            training=not self._closing.is_set(),
            steps=tuple(self._steps),
            step=step,
            max_steps=max_steps,
        )
        with suppress(OSError):
            replace_file(self._path, pace.to_bytes(), durable=False)
