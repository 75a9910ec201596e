"""``sidestep-evaluator gate``: whether a checkpoint may be shipped, as an exit code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from sidestep.evaluator.comparing.against import Against
from sidestep.shared.commands.options import THIS_COMMAND, AsJson, ExpertPath, FolderOptions, GateOptions


@Parameter(name="*", group=THIS_COMMAND)
@dataclass(frozen=True, kw_only=True)
class GatedOptions:
    """Which checkpoint, and what it is compared with."""

    checkpoint: str = "newest"
    """A step, best, or newest."""
    against: Annotated[Against | None, Parameter(name_transform=str.lower)] = None
    """What it is compared with; default: evaluation.gates of the manifest, else previous_version_best, or else base."""


def gate(
    path: ExpertPath,
    /,
    *,
    which: GatedOptions = GatedOptions(),
    gates: GateOptions = GateOptions(),
    as_json: AsJson = False,
    folders: FolderOptions = FolderOptions(),
) -> None:
    """Whether a checkpoint may be shipped: exit with 3 when a gate refuses it. Reads reports, runs nothing."""
    from sidestep.evaluator.commands.build_settings import find_folders, manifest_gates
    from sidestep.evaluator.commands.gate_options import gates_with
    from sidestep.evaluator.commands.printing.gates import print_gates
    from sidestep.shared.commands.exit_codes import EXIT_REGRESSION

    place = find_folders(path, folders)
    asked = gates_with(manifest_gates(place), gates)
    if which.against:
        asked = asked.model_copy(update={"against": which.against})
    if not print_gates(place.reports, which.checkpoint, asked, as_json=as_json):
        raise SystemExit(EXIT_REGRESSION)
