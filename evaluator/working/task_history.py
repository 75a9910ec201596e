"""What a run remembers of its tasks: when a failed one may be tried again, and which forced ones it has finished.

Everything else is found again in every round. A restart forgets this, and loses no more than a pause.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from sidestep.evaluator.watching.tasks import Task


class TaskHistory:
    """Tasks by the id of their outcome, as this run has met them. ``retry_seconds``: pause after a failed attempt."""

    def __init__(self, retry_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._retry_seconds = retry_seconds
        self._clock = clock
        self._not_before: dict[str, float] = {}
        self._begun: set[str] = set()
        self._ended: set[str] = set()

    def defer(self, key: str) -> None:
        """It failed: let it wait before it is tried again."""
        self._not_before[key] = self._clock() + self._retry_seconds

    def is_deferred(self, key: str) -> bool:
        """Whether it still has to wait."""
        return self._clock() < self._not_before.get(key, 0.0)

    def begin(self, task: Task) -> bool:
        """An attempt begins; returns whether it is the first one of this run."""
        first = task.identity.id not in self._begun
        self._begun.add(task.identity.id)
        return first

    def end(self, task: Task) -> None:
        """The task has an outcome."""
        self._ended.add(task.identity.id)

    def is_ended(self, task: Task) -> bool:
        """Whether this run has given the task its outcome; a forced task is done once in a run."""
        return task.identity.id in self._ended
