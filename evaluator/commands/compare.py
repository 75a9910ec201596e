"""``sidestep-evaluator compare``: two checkpoints, or two versions of the expert, from their reports."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from cyclopts import Parameter

from sidestep.shared.commands.options import AsJson, ExpertPath, FailOptions, FolderOptions, RegressionGateOptions


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class RefusalOptions:
    """What makes the exit code say that B is refused."""

    fail: FailOptions = field(default_factory=FailOptions)
    gates: RegressionGateOptions = field(default_factory=RegressionGateOptions)


def compare(
    path: ExpertPath,
    a: Annotated[str, Parameter(name="A", help="A step (250), base, or a version (0.1.0).")],
    b: Annotated[str, Parameter(name="B", help="What is compared with A.")],
    /,
    *,
    as_json: AsJson = False,
    refusal: RefusalOptions = RefusalOptions(),
    folders: FolderOptions = FolderOptions(),
) -> None:
    """Compare two checkpoints, or two versions of the expert, from their reports."""
    from sidestep.evaluator.commands.build_settings import find_folders, manifest_gates
    from sidestep.evaluator.commands.gate_options import exit_if_comparison_refused, gates_with
    from sidestep.evaluator.commands.printing.comparison import print_comparison

    place = find_folders(path, folders)
    asked = gates_with(manifest_gates(place), refusal.gates)
    entry, after = print_comparison(place.reports, a, b, as_json=as_json)
    if refusal.fail.fail_on_regression:
        exit_if_comparison_refused(after, entry, asked)
