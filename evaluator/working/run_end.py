"""When a run of the evaluator ends by itself, rather than because somebody stops it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO

SETTLING_SECONDS = 1.0  # between two scans while something settles


@dataclass(frozen=True)
class EndCondition:
    """Never; when idle this long; after a single pass; or when ``drain`` is closed and everything is done.

    ``drain`` is a pipe, set not to block, that its writer closes when no more checkpoints will come.
    """

    idle_seconds: float | None = None
    single_pass: bool = False
    drain: IO[bytes] | None = None


class RunEnd:
    """Applies an end condition, round by round."""

    def __init__(self, condition: EndCondition, clock: Callable[[], float] = time.monotonic) -> None:
        self._condition = condition
        self._clock = clock
        self._idle_since = clock()
        self._drained = False

    @property
    def single_pass(self) -> bool:
        return self._condition.single_pass

    @property
    def beside_training(self) -> bool:
        """Whether a training that started this evaluator says when it ends."""
        return self._condition.drain is not None

    def note_work(self) -> None:
        """Something was done: the time of being idle begins again."""
        self._idle_since = self._clock()

    def is_last_scan(self) -> bool:
        """Whether nothing can come any more; to be asked before a scan, so that the scan sees everything."""
        drain = self._condition.drain
        if drain is not None and not self._drained:
            self._drained = drain.read(1 << 16) == b""  # not blocking: None while the writer lives
        return self._condition.single_pass or self._drained

    def is_reached(self, *, has_tasks: bool, settling: bool, last_scan: bool) -> bool:
        """Whether to end now, after a round in which nothing could be done."""
        if has_tasks:
            return False
        if settling:
            self.note_work()
            return False
        idle = self._condition.idle_seconds
        return last_scan or (idle is not None and self._clock() - self._idle_since >= idle)

    def longest_wait(self, poll_seconds: float, *, settling: bool) -> float:
        """Seconds until the next scan is due."""
        seconds = min(poll_seconds, self._condition.idle_seconds or poll_seconds)
        return min(seconds, SETTLING_SECONDS) if settling else seconds

    def wake_sources(self) -> tuple[IO[bytes], ...]:
        """What, besides an event, makes a scan worthwhile at once."""
        drain = self._condition.drain
        return () if drain is None or self._drained else (drain,)
