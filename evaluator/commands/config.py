"""``sidestep-evaluator config show``: which options are in force, and where each comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from sidestep.shared.commands.options import THIS_COMMAND, AsJson

app = App(name="config", help="Show which options are in force, and where they come from.", sort_key=7.6)


@app.command
def show(
    path: Annotated[
        Path, Parameter(name="PATH", help="An expert's folder, its weights folder, or a training's output folder.")
    ] = Path(),
    /,
    *more: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    command: Annotated[
        str, Parameter(group=THIS_COMMAND, help="The command whose options are shown: watch, rerun, status, …")
    ] = "watch",
    as_json: AsJson = False,
) -> None:
    """Show every option in force for a command, its value, and where it comes from.

    Further options are taken as that command would take them: `config show PATH --device cpu`.
    """
    from sidestep.evaluator.commands.printing.config import print_options

    print_options(command, path, more, as_json=as_json)
