"""Options of where things are that are not where the expert's folder has them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from sidestep.shared.commands.options.panels import FOLDERS


@Parameter(name="*", group=FOLDERS)
@dataclass(frozen=True, kw_only=True)
class WeightsOptions:
    """Where trainings write."""

    weights_dir: Annotated[Path | None, Parameter(name=("--weights-dir", "--output-dir"))] = None
    """Weights folder; default: weights in the expert's folder."""


@Parameter(name="*", group=FOLDERS)
@dataclass(frozen=True, kw_only=True)
class FolderOptions(WeightsOptions):
    """Where things are that are not where the expert's folder has them."""

    reports_dir: Path | None = None
    """Where reports are and go; default: training_reports in the weights folder."""
