"""What ``compare`` prints."""

from __future__ import annotations

import sys

from sidestep.evaluator.commands.finding import find_report
from sidestep.evaluator.commands.printing.console import make_console
from sidestep.evaluator.comparing.comparison import compare
from sidestep.evaluator.presenting.tables import comparison_document, comparison_table
from sidestep.evaluator.results.report import ComparisonEntry, Report
from sidestep.evaluator.results.store import read_reports
from sidestep.shared.files import to_json
from sidestep.shared.protocol.layout import ReportsFolder


def print_comparison(reports: ReportsFolder, a: str, b: str, *, as_json: bool) -> tuple[ComparisonEntry, Report]:
    """Compare two checkpoints or versions; the comparison and the second one's report. Raises NotComparable."""
    stored = read_reports(reports)
    before, after = find_report(stored, a, reports), find_report(stored, b, reports)
    entry = compare(before, after)
    if as_json:
        sys.stdout.write(to_json(comparison_document(entry, after)).decode())
    else:
        make_console().print(comparison_table(entry, after))
    return entry, after
