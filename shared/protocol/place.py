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
    if (path / "manifest.json").is_file():
        expert = ExpertFolder(path)
        chosen = WeightsFolder(weights.resolve()) if weights else expert.weights
        return Place(chosen, ReportsFolder(reports or chosen.reports.root), expert)
    in_weights_folder = is_weights_folder(path.parent) and not is_weights_folder(path)
    if not holds_checkpoints(path) and not in_weights_folder:
        return _weights_place(WeightsFolder(path), reports)
    if is_weights_folder(path.parent):
        around = _weights_place(WeightsFolder(path.parent), reports)
        return Place(around.weights, around.reports, around.expert, only=ModelFolder(path))
    return Place(
        WeightsFolder(path.parent),
        ReportsFolder(reports or reports_of(ModelFolder(path)).root),
        None,
        ModelFolder(path),
    )


def reports_of(model: ModelFolder) -> ReportsFolder:
    """Where the reports of a model folder's checkpoints are: beside it in a weights folder, else inside it."""
    root = model.root.resolve()
    return WeightsFolder(root.parent if is_weights_folder(root.parent) else root).reports


def is_weights_folder(path: Path) -> bool:
    return (
        path.name == "weights" or WeightsFolder(path).reports.root.is_dir() or (path.parent / "manifest.json").is_file()
    )


def holds_checkpoints(path: Path) -> bool:
    """Whether checkpoints, or an outbox, lie directly in this folder."""
    if not path.is_dir():
        return False
    return any(each.name == OUTBOX_NAME or checkpoint_step(each.name) is not None for each in path.iterdir())


def _weights_place(weights: WeightsFolder, reports: Path | None) -> Place:
    expert = weights.expert if weights.expert.manifest.is_file() else None
    return Place(weights, ReportsFolder(reports or weights.reports.root), expert)
