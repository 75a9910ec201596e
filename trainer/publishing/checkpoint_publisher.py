"""What is done to each saved checkpoint: made durable, held in the outbox, marked (docs/protocol.md, steps 1 to 4).

No threads here, and nothing of transformers: ``Handover`` says when, ``PublishCheckpoint`` knows the Trainer.
"""

from __future__ import annotations

import os
import time

from sidestep.shared.errors import PublishError
from sidestep.shared.files import replace_file
from sidestep.shared.logs import get_logger
from sidestep.shared.protocol.checkpoint import (
    IncompleteCheckpoint,
    check_finished,
    checkpoint_steps,
    is_weights,
    read_trainer_state,
    why_not_evaluable,
)
from sidestep.shared.protocol.layout import INCOMPLETE_SENTINEL, MARKER_NAME, ModelFolder
from sidestep.shared.protocol.marker import FileEntry, Marker, RunDescription, TrainingMetrics
from sidestep.shared.protocol.outbox import OutboxLimits, enforce_limits, stage, sweep_leftovers
from sidestep.shared.protocol.outcomes import is_settled
from sidestep.shared.protocol.place import reports_of

log = get_logger("trainer.publisher")


class CheckpointPublisher:
    """Publishes the checkpoints of one run in one model folder."""

    def __init__(self, folder: ModelFolder, description: RunDescription, limits: OutboxLimits, run_id: str) -> None:
        self._folder = folder
        self._description = description
        self._limits = limits
        self._run_id = run_id

    def publish(self, step: int, metrics: TrainingMetrics | None = None) -> None:
        """Hand one checkpoint over, then keep the outbox within its limits. Raises OSError or PublishError.

        Without ``metrics`` the checkpoint's own trainer_state.json says what is known of the training.
        """
        checkpoint = self._folder.checkpoint(step)
        if (checkpoint / INCOMPLETE_SENTINEL).exists():
            log.warning("%s is marked incomplete and is not published", checkpoint)
            return
        if metrics is None:
            metrics = read_trainer_state(checkpoint).metrics
        reason = why_not_evaluable(checkpoint)
        if reason:
            log.warning("%s cannot be evaluated because %s", checkpoint.name, reason)
        before = checkpoint.stat()
        held = stage(self._folder, checkpoint, lambda files: self._marker(step, metrics, files, reason))
        replace_file(checkpoint / MARKER_NAME, held.marker.to_bytes())
        # transformers rotates by folder mtime: leave it as the save left it.
        os.utime(checkpoint, ns=(before.st_atime_ns, before.st_mtime_ns))
        fields = {"step": step, "manifest_hash": held.marker.files_hash}
        log.info("published %s", checkpoint.name, extra={"fields": fields})
        self._enforce_limits()

    def publish_unmarked(self, *, sweep: bool) -> None:
        """Publish complete checkpoints that have no marker: saved on SIGTERM, or just before a crash.

        With ``sweep``, what a killed publisher left half staged is deleted first.
        """
        if not self._folder.root.is_dir():
            return
        if sweep:
            sweep_leftovers(self._folder)
        for step in checkpoint_steps(self._folder, follow_links=True):
            checkpoint = self._folder.checkpoint(step)
            if (checkpoint / MARKER_NAME).exists():
                continue
            try:
                check_finished(checkpoint)
                self.publish(step)
            except IncompleteCheckpoint as error:
                log.warning("%s is not published: %s", checkpoint, error)
            except (OSError, PublishError) as error:
                log.error("%s could not be published; training goes on: %s", checkpoint, error)

    def prepare_save(self, step: int) -> None:
        """Prepare for a save of ``step``, which may write over a published checkpoint (a run resumed from before it).

        Its marker goes, and so do its weights where the outbox holds them: they are the same files, and writing over
        them would destroy what still waits for the evaluator.
        """
        checkpoint = self._folder.checkpoint(step)
        if not checkpoint.is_dir():
            return
        (checkpoint / MARKER_NAME).unlink(missing_ok=True)
        for path in checkpoint.iterdir():
            if is_weights(path.name) and path.lstat().st_nlink > 1:
                path.unlink()

    def _marker(
        self, step: int, metrics: TrainingMetrics, files: tuple[FileEntry, ...], not_evaluable: str | None
    ) -> Marker:
        return Marker(
            run_id=self._run_id,
            step=step,
            run=self._description,
            not_evaluable=not_evaluable,
            files=files,
            metrics=metrics,
            published_at=time.time(),
        )

    def _enforce_limits(self) -> None:
        reports, name = reports_of(self._folder), self._folder.root.name
        for held in enforce_limits(self._folder, self._limits, lambda marker: is_settled(reports, marker.key(name))):
            log.warning(
                "%s was dropped before it was evaluated: more than %d checkpoints or %.0f GiB wait in %s",
                held.path.name,
                self._limits.entries,
                self._limits.bytes / 2**30,
                self._folder.outbox,
            )
