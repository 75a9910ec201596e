"""``sidestep-evaluator suite``: begin a suite, check it, look at it, or make one from a task or a data set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from cyclopts.validators import Number

from sidestep.shared.commands.exit_codes import EXIT_FAILURE
from sidestep.shared.commands.options import THIS_COMMAND

app = App(name="suite", help="Begin, check, show and import test cases.", sort_key=7.5)

SuitePath = Annotated[Path, Parameter(name="PATH", help="A suite's file, or an expert's folder.")]
Force = Annotated[bool, Parameter(group=THIS_COMMAND, help="Replace a file that is there.")]


@Parameter(name="*", group=THIS_COMMAND)
@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """Where the suite goes, and what of the source becomes what."""

    output: Annotated[Path, Parameter(name=("--output", "-o"))]
    """The suite to write, .json."""
    include_path: Path | None = None
    """Folder with a task of your own."""
    metric: str | None = None
    """The task's metric; default: its first."""
    column: Annotated[tuple[str, ...], Parameter(metavar="OURS=THEIRS")] = ()
    """A column of the data set, such as prompt=question; repeatable."""
    check: Annotated[tuple[str, ...], Parameter(metavar="JSON")] = ()
    """A check for every case; {{column}} is filled in; repeatable."""
    limit: Annotated[int | None, Parameter(validator=Number(gte=1))] = None
    """Take this many rows, at least 1; default: all."""
    allow_hub: bool = False
    """The data set may be fetched from the hub."""


@app.command
def init(path: SuitePath, /, *, force: Force = False) -> None:
    """Write a small suite to begin with: three cases that show keywords, a number and a JSON Schema."""
    from sidestep.evaluator.commands.suite_files import write_template

    write_template(path, force)


@app.command
def check(path: SuitePath, /) -> None:
    """Name every mistake with its line and what to do; exit with 1 when there is one."""
    from sidestep.evaluator.commands.printing.suite import print_mistakes

    if not print_mistakes(path):
        raise SystemExit(EXIT_FAILURE)


@app.command
def show(path: SuitePath, /) -> None:
    """Print every case with its checks."""
    from sidestep.evaluator.commands.printing.suite import print_cases

    print_cases(path)


@app.command(name="import")
def import_(
    source: Annotated[
        str, Parameter(name="SOURCE", help="lm-eval:TASK, a data file, or a Hub id as name::split::config.")
    ],
    /,
    *,
    target: ImportOptions,
    force: Force = False,
) -> None:
    """Make a suite from a task of lm-evaluation-harness or a data set; it says where it came from."""
    from sidestep.evaluator.commands.suite_files import import_suite

    import_suite(source, target, force)
