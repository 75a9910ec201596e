"""``sidestep-evaluator export``: everything that is in the reports, for other programs, at any time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sidestep.evaluator.commands.options import Options
from sidestep.evaluator.commands.outlets import Outlets
from sidestep.evaluator.commands.showing import find_report
from sidestep.evaluator.exporting.junit import write_junit
from sidestep.evaluator.exporting.sending import Sender
from sidestep.evaluator.exporting.tables import write_table
from sidestep.evaluator.results.report import Report
from sidestep.evaluator.results.store import StoredReport, read_reports
from sidestep.shared.commands.exit_codes import EXIT_FAILURE
from sidestep.shared.errors import ConfigError, NotComparable
from sidestep.shared.logs import configure_logging

ReportTo = Annotated[
    str | None, typer.Option(help="Send curves to tensorboard, wandb, mlflow, trackio (with commas), all or none.")
]
Webhook = Annotated[str | None, typer.Option(help="POST a JSON summary of each outcome to this address.")]
MetricsPort = Annotated[
    int | None, typer.Option(min=0, max=65535, help="Serve Prometheus metrics and /healthz on this port.")
]
MetricsHost = Annotated[str, typer.Option(help="Address to serve them on; default: this machine only.")]
Junit = Annotated[Path | None, typer.Option(help="Write JUnit XML of the newest evaluated checkpoint to this file.")]


def export(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="An expert's folder, its weights folder, or reports.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Table of all cases of all checkpoints: .parquet or .csv.")
    ] = None,
    junit: Annotated[Path | None, typer.Option(help="JUnit XML of one checkpoint.")] = None,
    checkpoint: Annotated[
        str | None, typer.Option(help="For --junit: a step, base, or a version; default: the newest.")
    ] = None,
    report_to: Annotated[
        str | None,
        typer.Option(help="Send what is new to tensorboard, wandb, mlflow, trackio (with commas)."),
    ] = None,
    webhook: Annotated[str | None, typer.Option(help="POST the outcomes that are new to this address.")] = None,
    weights_dir: Annotated[Path | None, typer.Option(help="Weights folder, where it is not PATH/weights.")] = None,
    reports_dir: Annotated[Path | None, typer.Option(help="Where the reports are, if elsewhere.")] = None,
) -> None:
    """Write results as Parquet, CSV or JUnit XML, or send them to trackers. Nothing is evaluated."""
    configure_logging()
    options = Options(path, weights_dir=weights_dir, reports_dir=reports_dir)
    place = options.place()
    given = Outlets(report_to or "none", webhook).exports(None)
    if not (output or junit or given.wanted):
        raise ConfigError("export needs to know where to", hint="give --output, --junit, --report-to or --webhook")
    stored = read_reports(place.reports)
    if not stored:
        raise NotComparable(f"{place.reports.root} has no reports", hint="evaluate something first")
    if output:
        typer.echo(f"{write_table(output, stored)} rows in {output}")
    if junit:
        write_junit(junit, [_chosen(stored, checkpoint, options)])
        typer.echo(f"JUnit XML in {junit}")
    if given.wanted:
        sender = Sender(place.reports, given.destinations, given.webhook)
        complete = sender.send()
        sender.close()
        if not complete:
            raise typer.Exit(EXIT_FAILURE)


def _chosen(stored: list[StoredReport], checkpoint: str | None, options: Options) -> Report:
    if checkpoint is not None:
        return find_report(stored, checkpoint, options.place().reports)
    current = [each.report for each in stored if not each.archived]
    return max(current, key=lambda report: -1 if report.step is None else report.step)
