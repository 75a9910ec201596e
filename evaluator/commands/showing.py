"""What the commands print: summary, status, comparison, health. Reads the reports folder, writes nothing to it."""

from __future__ import annotations

import difflib
import os
import socket
import sys
import time
from dataclasses import asdict

from rich.console import Console

from sidestep.evaluator.comparing.comparison import compare
from sidestep.evaluator.presenting.tables import (
    StatusRow,
    comparison_document,
    comparison_table,
    status_table,
    summary_table,
)
from sidestep.evaluator.presenting.terminal_history import history_lines, history_table, rate_line
from sidestep.evaluator.results.report import ComparisonEntry, Report
from sidestep.evaluator.results.store import StoredReport, list_outcomes, read_reports
from sidestep.evaluator.settings import EvaluatorSettings
from sidestep.evaluator.suite.loading import load_suite
from sidestep.evaluator.watching.scan import scan
from sidestep.evaluator.watching.tasks import NO_SUITE, Conditions, pending_tasks
from sidestep.evaluator.working.attempts import count_finished_cases
from sidestep.shared.errors import NotComparable
from sidestep.shared.files import to_json
from sidestep.shared.launch.live_display import evaluator_row, training_rows
from sidestep.shared.protocol.layout import REPORT_NAME, ReportsFolder, checkpoint_name, checkpoint_step, step_named
from sidestep.shared.protocol.presence import evaluators_present


def print_summary(reports: ReportsFolder) -> None:
    """The table of all current reports, and where they are."""
    current = [stored.report for stored in read_reports(reports) if not stored.archived]
    if not current:
        _console().print(f"no reports in {reports.root}", highlight=False)
        return
    console = _console()
    console.print(summary_table(current))
    _print_chart(console, current)
    console.print(f"dashboard: {reports.dashboard}", highlight=False, soft_wrap=True)
    console.print(f"reports: {reports.root}/checkpoint-*/report.md", highlight=False, soft_wrap=True)
    console.print(f"history: {reports.comparison}", highlight=False, soft_wrap=True)


def _print_chart(console: Console, reports: list[Report]) -> None:
    if line := rate_line(reports):
        console.print(line, highlight=False)


def print_status(settings: EvaluatorSettings, *, as_json: bool) -> None:
    """Pending and running checkpoints, and how the others ended."""
    rows = status_rows(settings)
    running = evaluators_present(settings.place.reports)
    if as_json:
        document = {"checkpoints": [asdict(row) for row in rows], "evaluators": [asdict(each) for each in running]}
        sys.stdout.write(to_json(document).decode())
        return
    console = _console()
    console.print(status_table(rows) if rows else f"no published checkpoints in {settings.place.root}", highlight=False)
    _print_chart(console, [each.report for each in read_reports(settings.place.reports) if not each.archived])
    for row in training_rows(settings.place, time.monotonic()):
        console.print(f"{row.title}: {row.text}", highlight=False)
    for each in running:
        row = evaluator_row(each, time.time())
        console.print(f"evaluator {each.pid} on {each.host}: {row.text}", highlight=False, markup=False)
    if not running:
        console.print("no evaluator is running here", highlight=False)


def status_rows(settings: EvaluatorSettings) -> list[StatusRow]:
    """One row for every outcome and every pending checkpoint, by step."""
    reports = settings.place.reports
    outcomes = list_outcomes(reports)
    suite_hash = load_suite(settings.suite_path).sha256 if settings.suite_path.is_file() else NO_SUITE
    conditions = Conditions(suite_hash, settings.decoding.sha256)
    tasks = pending_tasks(scan(settings.place), conditions, {record.identity.id for record in outcomes}, settings.order)
    evaluating = {each.checkpoint for each in evaluators_present(reports) if each.state == "evaluating"}
    rows = [
        StatusRow(
            record.checkpoint,
            record.outcome.value,
            record.reason or "",
            record.identity.key.model_folder,
            record.expert_version,
        )
        for record in outcomes
    ]
    for task in tasks:
        done = count_finished_cases(reports, task.identity)
        state = "evaluating" if task.identity.label in evaluating else "pending"
        detail = f"{done} cases finished" if done else ""
        version = task.candidate.marker.expert_version if task.candidate and task.candidate.marker else ""
        rows.append(StatusRow(task.identity.label, state, detail, task.identity.key.model_folder, version))

    def position(row: StatusRow) -> tuple[str, int]:
        step = checkpoint_step(row.checkpoint)
        return row.version, -1 if step is None else step

    return sorted(rows, key=position)


def print_comparison(reports: ReportsFolder, a: str, b: str, *, as_json: bool) -> tuple[ComparisonEntry, Report]:
    """Compare two checkpoints or versions; the comparison and the second one's report. Raises NotComparable."""
    stored = read_reports(reports)
    before, after = find_report(stored, a, reports), find_report(stored, b, reports)
    entry = compare(before, after)
    if as_json:
        sys.stdout.write(to_json(comparison_document(entry, after)).decode())
    else:
        _console().print(comparison_table(entry, after))
    return entry, after


def print_history(reports: ReportsFolder, case: str | None, *, as_json: bool) -> None:
    """How the success rate, or one case, went over all checkpoints and versions. Raises NotComparable."""
    stored = read_reports(reports)
    known = {each.id for one in stored for each in one.report.test_cases}
    if case is not None and case not in known:
        raise NotComparable(f"{reports.root} has no report with a case {case!r}", hint=_close_to(case, known))
    lines = history_lines(stored, case)
    if as_json:
        sys.stdout.write(to_json([asdict(line) for line in lines]).decode())
        return
    console = _console()
    if not lines:
        console.print(f"no evaluated checkpoints in {reports.root}", highlight=False)
    for line in lines:
        console.print(history_table(line, case))


def _close_to(name: str, known: set[str]) -> str:
    close = difflib.get_close_matches(name, sorted(known), n=3)
    return f"close to it: {', '.join(close)}" if close else f"there are {len(known)} cases; see {REPORT_NAME}"


def find_report(stored: list[StoredReport], name: str, reports: ReportsFolder) -> Report:
    """The report a user means by a step, ``checkpoint-<step>``, ``base``, or a version (its last checkpoint)."""
    evaluated = [each for each in stored if each.report.evaluated]
    step = step_named(name)
    label = name if step is None else checkpoint_name(step)
    named = [each for each in evaluated if each.report.checkpoint == label]
    if named:
        return min(named, key=lambda each: each.archived).report
    versions = [each for each in evaluated if each.report.expert_version == name and each.report.step is not None]
    if versions:
        return max(versions, key=lambda each: (not each.archived, each.report.step or 0)).report
    known = ", ".join(sorted({each.report.checkpoint for each in evaluated})) or "none"
    raise NotComparable(f"{reports.root} has no evaluated report of {name!r}", hint=f"there are: {known}")


def print_health(reports: ReportsFolder, max_age: float) -> bool:
    """Whether an evaluator of this machine has said within ``max_age`` seconds that it is alive."""
    here = [each for each in evaluators_present(reports, max_age=max_age) if each.host == socket.gethostname()]
    _console().print(f"{here[0].state}" if here else "no evaluator is alive here", highlight=False)
    return bool(here)


def _console() -> Console:
    """Standard output, wide enough for the tables where it is no terminal and nobody says how wide it is."""
    return Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else 120)
