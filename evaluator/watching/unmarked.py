"""Checkpoints without a marker: which there are, and what their marker would have said.

A rerun takes them when it is told to (watching.rerun); ``watch --adopt`` takes them once they no longer change
(watching.adoption).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from sidestep.evaluator.settings import EvaluatorSettings
from sidestep.shared.protocol.checkpoint import checkpoint_steps, read_trainer_state
from sidestep.shared.protocol.layout import ModelFolder
from sidestep.shared.protocol.marker import UNMARKED_RUN, FileEntry, Marker, RunDescription
from sidestep.shared.protocol.place import Place


@dataclass(frozen=True)
class UnmarkedDescription:
    """What a marker says beside what the folder tells, for checkpoints that no publisher described."""

    expert_name: str = "unknown"
    expert_version: str = "unknown"
    base_model: str = ""

    @classmethod
    def from_settings(cls, settings: EvaluatorSettings) -> UnmarkedDescription:
        """What the evaluator itself was told."""
        return cls(settings.expert_name, settings.expert_version, settings.engine.base_model)

    def build_marker(self, folder: Path, step: int, files: tuple[FileEntry, ...], not_evaluable: str | None) -> Marker:
        """What a publisher would have said, as far as the folder tells. Raises IncompleteCheckpoint."""
        return Marker(
            run_id=UNMARKED_RUN,
            step=step,
            run=RunDescription(self.expert_name, self.expert_version, self.base_model),
            not_evaluable=not_evaluable,
            files=files,
            metrics=read_trainer_state(folder).metrics,
        )


def unmarked_steps(place: Place, published: Collection[tuple[str, int]]) -> Iterator[tuple[ModelFolder, int]]:
    """Every checkpoint folder whose model folder and step are not among ``published``."""
    for model in place.model_folders():
        for step in checkpoint_steps(model):
            if (model.root.name, step) not in published:
                yield model, step
