"""How fast a training goes and how well it learns: left for the evaluator after each step, and with each checkpoint.

Everything here is taken on the training thread and costs it nothing that can be measured; a thread of the pace file's
own does the writing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

from sidestep.shared.protocol.layout import ModelFolder
from sidestep.shared.protocol.marker import TrainingMetrics
from sidestep.shared.protocol.pace import PaceFile


class TrainingPace:
    """The pace of one training: from ``start`` to ``close`` its pace file says that it goes on."""

    def __init__(self, folder: ModelFolder, first_step: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._file = PaceFile(folder.pace, clock)
        self._last_save = (first_step, clock())

    def start(self) -> None:
        self._file.start()

    def close(self) -> None:
        """Say that training has ended."""
        self._file.close()

    def note_step(self, step: int, max_steps: int) -> None:
        """A step has ended."""
        self._file.note_step(step, max_steps)

    def note_pause(self) -> None:
        """What was done since the last step ended (a save, a validation) is not part of the next one."""
        self._file.note_pause()

    def metrics_at_save(self, step: int, log_history: Iterable[Mapping[str, object]]) -> TrainingMetrics:
        """What is known at the save of ``step``; the next call counts from here."""
        now = self._clock()
        before, since = self._last_save
        self._last_save = (step, now)
        rows = [row for row in log_history if "loss" in row]
        newest = rows[-1] if rows else {}
        return TrainingMetrics(
            train_loss=_number(newest.get("loss")),
            learning_rate=_number(newest.get("learning_rate")),
            seconds_per_step=(now - since) / (step - before) if step > before else None,
        )


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None
