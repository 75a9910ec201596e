"""``sidestep-evaluator health``: whether an evaluator is alive, for container health checks."""

from __future__ import annotations

import socket
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from sidestep.shared.commands.exit_codes import EXIT_FAILURE
from sidestep.shared.commands.options import THIS_COMMAND, ExpertPath, FolderOptions
from sidestep.shared.protocol.layout import ReportsFolder


def health(
    path: ExpertPath,
    /,
    *,
    max_age: Annotated[
        float | None,
        Parameter(
            group=THIS_COMMAND,
            validator=Number(gte=1),
            help="Seconds since the evaluator last said that it is alive; default: 60.",
        ),
    ] = None,
    folders: FolderOptions = FolderOptions(),
) -> None:
    """Exit with 0 when this machine's evaluator of PATH is alive, else with 1. Made for container health checks."""
    from sidestep.evaluator.commands.build_settings import find_folders

    if not _print_health(find_folders(path, folders).reports, max_age):
        raise SystemExit(EXIT_FAILURE)


def _print_health(reports: ReportsFolder, max_age: float | None) -> bool:
    """Whether an evaluator of this machine has said within ``max_age`` seconds that it is alive."""
    from sidestep.evaluator.commands.printing.console import make_console
    from sidestep.shared.protocol.presence import FRESH_SECONDS, evaluators_present

    present = evaluators_present(reports, max_age=max_age or FRESH_SECONDS)
    here = [evaluator for evaluator in present if evaluator.host == socket.gethostname()]
    make_console().print(f"{here[0].state}" if here else "no evaluator is alive here", highlight=False)
    return bool(here)
