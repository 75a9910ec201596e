"""What a run remembers of its tasks: when a failed one may be tried again, which are finished, which it leaves alone.

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
        self._set_aside: dict[str, tuple[Task, str]] = {}
        self._exhausted: dict[str, tuple[Task, str]] = {}
        self.has_evaluated = False
        """Whether this run has evaluated a checkpoint: what fails then is not the evaluator's fault."""

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

    def set_aside(self, task: Task, reason: str) -> bool:
        """Leave the task alone in this run, pending; returns whether that is new."""
        is_new = task.identity.id not in self._set_aside
        self._set_aside[task.identity.id] = task, reason
        return is_new

    def is_set_aside(self, task: Task) -> bool:
        """Whether this run leaves it alone."""
        return task.identity.id in self._set_aside

    def set_aside_reasons(self) -> dict[str, str]:
        """Why each task that was set aside is, by label."""
        return {task.identity.label: reason for task, reason in self._set_aside.values()}

    def note_exhausted(self, task: Task, reason: str) -> None:
        """All its attempts failed, and nothing shows yet that it is not the evaluator's fault."""
        self._exhausted[task.identity.id] = (task, reason)

    def why_exhausted(self, task: Task) -> str | None:
        """How the last attempt at an exhausted task failed; None for any other task."""
        found = self._exhausted.get(task.identity.id)
        return found[1] if found else None

    @property
    def exhausted(self) -> list[Task]:
        """Tasks all of whose attempts failed, in the order in which they did."""
        return [task for task, _ in self._exhausted.values()]
