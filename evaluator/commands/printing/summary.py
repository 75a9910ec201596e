"""The table of all current reports, which ``watch`` and ``rerun`` print at their end."""

from __future__ import annotations

from rich.console import Console

from sidestep.evaluator.commands.printing.console import make_console
from sidestep.evaluator.presenting.tables import summary_table
from sidestep.evaluator.presenting.terminal_history import rate_line
from sidestep.evaluator.results.report import Report
from sidestep.evaluator.results.store import read_reports
from sidestep.shared.protocol.layout import ReportsFolder


def print_summary(reports: ReportsFolder) -> None:
    """The table, a small chart, and where the reports are."""
    console = make_console()
    current = [stored.report for stored in read_reports(reports) if not stored.archived]
    if not current:
        console.print(f"no reports in {reports.root}", highlight=False)
        return
    console.print(summary_table(current))
    print_chart(console, current)
    console.print(f"dashboard: {reports.dashboard}", highlight=False, soft_wrap=True)
    console.print(f"reports: {reports.root}/checkpoint-*/report.md", highlight=False, soft_wrap=True)
    console.print(f"history: {reports.comparison}", highlight=False, soft_wrap=True)


def print_chart(console: Console, reports: list[Report]) -> None:
    """The success rates in one line, where there are enough for a line."""
    if line := rate_line(reports):
        console.print(line, highlight=False)
