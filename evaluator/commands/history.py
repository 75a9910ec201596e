"""``sidestep-evaluator history``: the success rate, or one case, over checkpoints and versions."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from sidestep.shared.commands.options import THIS_COMMAND, AsJson, ExpertPath, FolderOptions


def history(
    path: ExpertPath,
    /,
    *,
    case: Annotated[str | None, Parameter(group=THIS_COMMAND, help="One case over all checkpoints, by its id.")] = None,
    as_json: AsJson = False,
    folders: FolderOptions = FolderOptions(),
) -> None:
    """Show how the success rate went over checkpoints and versions, and which cases keep changing."""
    from sidestep.evaluator.commands.build_settings import find_folders
    from sidestep.evaluator.commands.printing.history import print_history

    print_history(find_folders(path, folders).reports, case, as_json=as_json)
