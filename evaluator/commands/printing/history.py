"""What ``history`` prints."""

from __future__ import annotations

import difflib
import sys
from dataclasses import asdict

from sidestep.evaluator.commands.printing.console import make_console
from sidestep.evaluator.presenting.terminal_history import history_lines, history_table
from sidestep.evaluator.results.store import read_reports
from sidestep.shared.errors import NotComparable
from sidestep.shared.files import to_json
from sidestep.shared.protocol.layout import REPORT_NAME, ReportsFolder


def print_history(reports: ReportsFolder, case: str | None, *, as_json: bool) -> None:
    """How the success rate, or one case, went over all checkpoints and versions. Raises NotComparable."""
    stored = read_reports(reports)
    known = {result.id for entry in stored for result in entry.report.test_cases}
    if case is not None and case not in known:
        raise NotComparable(f"{reports.root} has no report with a case {case!r}", hint=_close_to(case, known))
    lines = history_lines(stored, case)
    if as_json:
        sys.stdout.write(to_json([asdict(line) for line in lines]).decode())
        return
    console = make_console()
    if not lines:
        console.print(f"no evaluated checkpoints in {reports.root}", highlight=False)
    for line in lines:
        console.print(history_table(line, case))


def _close_to(name: str, known: set[str]) -> str:
    close = difflib.get_close_matches(name, sorted(known), n=3)
    return f"close to it: {', '.join(close)}" if close else f"there are {len(known)} cases; see {REPORT_NAME}"
