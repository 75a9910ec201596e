"""From the path a user gives to the folders that matter: an expert, a weights folder, or one output folder.

People point at ``experts/shop``, at its ``weights``, at one model's folder below it, or at the ``output_dir`` of
any transformers script, which holds its checkpoints directly. All four work, and both processes agree on where
the reports are.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sidestep.shared.protocol.layout import (
    OUTBOX_NAME,
    ExpertFolder,
    ModelFolder,
    ReportsFolder,
    WeightsFolder,
    checkpoint_step,
)
from sidestep.shared.protocol.manifest import find_expert


@dataclass(frozen=True)
class Place:
    """One training's folders. ``only`` is the single model folder when there is no weights folder around it."""

    weights: WeightsFolder
    reports: ReportsFolder
    expert: ExpertFolder | None
    only: ModelFolder | None = None

    @property
    def root(self) -> Path:
        """The folder that must exist before there can be work."""
        return self.only.root if self.only else self.weights.root

    def model_folders(self) -> list[ModelFolder]:
        """Every folder that may hold checkpoints, by name; none when nothing exists yet."""
        if self.only:
            return [self.only] if self.only.root.is_dir() else []
        if not self.weights.root.is_dir():
            return []
        if holds_checkpoints(self.weights.root):  # an output folder that was empty when it was named
            return [ModelFolder(self.weights.root)]
        folders = (path for path in self.weights.root.iterdir() if not path.name.startswith("."))
        return [
            ModelFolder(path)
            for path in sorted(folders)
            if path != self.reports.root and path.is_dir() and not path.is_symlink()
        ]

    def adopted_folder(self, model: ModelFolder) -> ModelFolder:
        """Where the evaluator holds checkpoints of ``model`` that nobody published."""
        return ModelFolder(self.reports.adopted / model.root.name)

    def adopted_folders(self) -> list[ModelFolder]:
        """Every folder that holds adopted checkpoints, by name."""
        if not self.reports.adopted.is_dir():
            return []
        paths = (path for path in sorted(self.reports.adopted.iterdir()) if path.is_dir() and not path.is_symlink())
        return [ModelFolder(path) for path in paths]

    def holding_folders(self) -> list[ModelFolder]:
        """Every folder in which work may be found: where trainers write, and where adopted checkpoints are held."""
        return [*self.model_folders(), *self.adopted_folders()]


def find_place(path: Path, *, weights: Path | None = None, reports: Path | None = None) -> Place:
    """The place a user means by ``path``, which need not exist yet.

    ``weights`` overrides where an expert's weights are, ``reports`` where the reports go.
    """
    path = path.resolve()
    expert = find_expert(path)
    if expert and expert.root == path:
        chosen = WeightsFolder(weights.resolve()) if weights else expert.weights
        return Place(chosen, ReportsFolder(reports or chosen.reports.root), expert)
    in_weights_folder = is_weights_folder(path.parent) and not is_weights_folder(path)
    if not holds_checkpoints(path) and not in_weights_folder:
        weights_folder = WeightsFolder(path)
        return Place(weights_folder, ReportsFolder(reports or weights_folder.reports.root), expert)
    model = ModelFolder(path)
    return Place(WeightsFolder(path.parent), ReportsFolder(reports or reports_of(model).root), expert, only=model)


def reports_of(model: ModelFolder) -> ReportsFolder:
    """Where the reports of a model folder's checkpoints are: beside it in a weights folder, else inside it."""
    root = model.root.resolve()
    return WeightsFolder(root.parent if is_weights_folder(root.parent) else root).reports


def is_weights_folder(path: Path) -> bool:
    return (
        path.name == "weights"
        or WeightsFolder(path).reports.root.is_dir()
        or ExpertFolder(path.parent).manifest.is_file()
    )


def holds_checkpoints(path: Path) -> bool:
    """Whether checkpoints, or an outbox, lie directly in this folder."""
    if not path.is_dir():
        return False
    return any(entry.name == OUTBOX_NAME or checkpoint_step(entry.name) is not None for entry in path.iterdir())
