"""Commands that only look: ``serve`` and ``history``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from sidestep.evaluator.commands import showing
from sidestep.evaluator.commands.options import Options
from sidestep.shared.logs import configure_logging

PathArgument = Annotated[
    Path, typer.Argument(metavar="PATH", help="An expert's folder, its weights folder, or a training's output folder.")
]
WeightsDir = Annotated[Path | None, typer.Option(help="Weights folder, where it is not PATH/weights.")]
ReportsDir = Annotated[Path | None, typer.Option(help="Where reports are; default: training_reports in the weights.")]


def serve(
    path: PathArgument,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8321,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="A further name by which it may be called; repeatable.")
    ] = None,
    weights_dir: WeightsDir = None,
    reports_dir: ReportsDir = None,
) -> None:
    """Show the dashboard in a browser, with reports as they land; for this machine only, unless told otherwise."""
    from sidestep.evaluator.serving.server import Address, serve

    configure_logging()
    place = Options(path, weights_dir=weights_dir, reports_dir=reports_dir).place()

    def say(url: str) -> None:
        sys.stdout.write(f"dashboard of {place.reports.root}: {url} (Ctrl-C ends it)\n")
        sys.stdout.flush()

    serve(place.reports, Address(host, port, tuple(allow_host or ())), say)


def history(
    path: PathArgument,
    case: Annotated[str | None, typer.Option(help="One case over all checkpoints, by its id.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    weights_dir: WeightsDir = None,
    reports_dir: ReportsDir = None,
) -> None:
    """Show how the success rate went over checkpoints and versions, and which cases keep changing."""
    configure_logging()
    place = Options(path, weights_dir=weights_dir, reports_dir=reports_dir).place()
    showing.print_history(place.reports, case, as_json=as_json)
