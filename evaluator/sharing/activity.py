"""When the evaluator was at work, so that each training step can be attributed to work or to rest."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

MAX_INTERVALS = 4096


@dataclass
class Activity:
    """Closed intervals at work, and the open one. Times in seconds of the governor's clock."""

    intervals: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=MAX_INTERVALS))
    since: float | None = None

    @property
    def working(self) -> bool:
        return self.since is not None

    def begin(self, now: float) -> None:
        """At work from now on; without effect when it already is."""
        if self.since is None:
            self.since = now

    def end(self, now: float) -> None:
        """At rest from now on; without effect when it already is."""
        if self.since is not None:
            self.intervals.append((self.since, now))
            self.since = None

    def share_of(self, begin: float, end: float, now: float) -> float:
        """The part (0..1) of the time from ``begin`` to ``end`` that was spent at work."""
        spans = [*self.intervals, (self.since, now)] if self.since is not None else list(self.intervals)
        overlap = sum(max(0.0, min(end, until) - max(begin, since)) for since, until in spans)
        return min(1.0, overlap / (end - begin)) if end > begin else 0.0
