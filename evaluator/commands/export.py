"""``sidestep-evaluator export``: everything that is in the reports, for other programs, at any time."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from sidestep.shared.commands.exit_codes import EXIT_FAILURE
from sidestep.shared.commands.options import THIS_COMMAND, ExpertPath, FolderOptions
from sidestep.shared.errors import ConfigError, NotComparable

if TYPE_CHECKING:
    from sidestep.evaluator.results.report import Report
    from sidestep.evaluator.results.store import StoredReport
    from sidestep.shared.protocol.layout import ReportsFolder


@Parameter(name="*", group=THIS_COMMAND)
@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """What goes where. At least one of them must be given, and each is something that is done."""

    output: Annotated[Path | None, Parameter(name=("--output", "-o"))] = None
    """Table of all cases of all checkpoints: .parquet or .csv."""
    junit: Path | None = None
    """JUnit XML of one checkpoint."""
    checkpoint: str | None = None
    """For --junit: a step, base, or a version; default: the newest."""
    report_to: str | None = None
    """Send what is new to tensorboard, wandb, mlflow, trackio (with commas)."""
    webhook: str | None = None
    """POST the outcomes that are new to this address."""


def export(
    path: ExpertPath,
    /,
    *,
    target: ExportOptions = ExportOptions(),
    folders: FolderOptions = FolderOptions(),
) -> None:
    """Write results as Parquet, CSV or JUnit XML, or send them to trackers. Nothing is evaluated."""
    from sidestep.evaluator.commands.build_settings import find_folders
    from sidestep.evaluator.commands.outlets import export_settings
    from sidestep.evaluator.exporting.sending import Sender
    from sidestep.evaluator.results.store import read_reports

    reports = find_folders(path, folders).reports
    exports = export_settings(target.report_to or "none", target.webhook)
    if not (target.output or target.junit or exports.wanted):
        raise ConfigError("export needs to know where to", hint="give --output, --junit, --report-to or --webhook")
    stored = read_reports(reports)
    if not stored:
        raise NotComparable(f"{reports.root} has no reports", hint="evaluate something first")
    _write_files(target, stored, reports)
    if exports.wanted:
        sender = Sender(reports, exports.destinations, exports.webhook)
        complete = sender.send()
        sender.close()
        if not complete:
            raise SystemExit(EXIT_FAILURE)


def _write_files(target: ExportOptions, stored: list[StoredReport], reports: ReportsFolder) -> None:
    if target.output:
        from sidestep.evaluator.exporting.tables import write_table

        sys.stdout.write(f"{write_table(target.output, stored)} rows in {target.output}\n")
    if target.junit:
        from sidestep.evaluator.exporting.junit import write_junit

        write_junit(target.junit, [_chosen_report(stored, target.checkpoint, reports)])
        sys.stdout.write(f"JUnit XML in {target.junit}\n")


def _chosen_report(stored: list[StoredReport], checkpoint: str | None, reports: ReportsFolder) -> Report:
    from sidestep.evaluator.commands.finding import find_report

    if checkpoint is not None:
        return find_report(stored, checkpoint, reports)
    current = [entry.report for entry in stored if not entry.archived]
    return max(current, key=lambda report: -1 if report.step is None else report.step)
