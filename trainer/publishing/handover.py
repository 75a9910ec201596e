"""Publishing beside the training: one checkpoint at a time, on a thread that the training waits for only before a save.

Nothing that fails here is raised into training; it is logged, and the training goes on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from sidestep.shared.errors import SidestepError
from sidestep.shared.logs import get_logger
from sidestep.shared.protocol.marker import TrainingMetrics
from sidestep.trainer.publishing.checkpoint_publisher import CheckpointPublisher

log = get_logger("trainer.publisher")


class Handover:
    """Hands the checkpoints of one run over in the background."""

    def __init__(self, publisher: CheckpointPublisher) -> None:
        self._publisher = publisher
        self._thread: threading.Thread | None = None
        self._waited_seconds = 0.0

    def publish(self, step: int, metrics: TrainingMetrics) -> None:
        """Begin to publish the checkpoint of ``step``."""
        self._start(lambda: self._publisher.publish(step, metrics))

    def publish_unmarked(self) -> None:
        """Begin to publish what an earlier run saved and could not publish."""
        self._start(lambda: self._publisher.publish_unmarked(sweep=True))

    def prepare_save(self, step: int) -> None:
        """The save of ``step`` is next: it may rotate away what is being published, or write over what was."""
        self.wait()
        self._publisher.prepare_save(step)

    def finish(self) -> None:
        """No save will come: publish what is still without a marker, as a save on SIGTERM is that no callback saw."""
        self.wait()
        self._publisher.publish_unmarked(sweep=False)

    def wait(self) -> None:
        """Until what has begun is published."""
        if self._thread is None:
            return
        began = time.perf_counter()
        self._thread.join()
        self._thread = None
        self._waited_seconds += time.perf_counter() - began

    def take_waited_seconds(self) -> float:
        """How long callers have been held in ``wait`` since the last call of this."""
        seconds, self._waited_seconds = self._waited_seconds, 0.0
        return seconds

    def _start(self, publish: Callable[[], None]) -> None:
        self.wait()
        self._thread = threading.Thread(target=_publish_and_log, args=(publish,), name="publish-checkpoint")
        self._thread.start()


def _publish_and_log(publish: Callable[[], None]) -> None:
    try:
        publish()
    except (OSError, SidestepError) as error:
        log.error("publishing failed; training goes on: %s", error)
    except Exception as error:  # a defect, which is no reason to end a training either
        log.error("publishing failed; training goes on: %s", error, exc_info=True)
