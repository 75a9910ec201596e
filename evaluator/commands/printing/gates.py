"""What ``gate`` prints: every gate's answer about one checkpoint."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict

from sidestep.evaluator.commands.finding import find_current_report
from sidestep.evaluator.commands.printing.console import make_console
from sidestep.evaluator.comparing.gates import SHIPPED, GateResult, Gates, check_gates, comparison_for
from sidestep.evaluator.results.report import Report
from sidestep.shared.files import to_json
from sidestep.shared.logs import terminal_safe
from sidestep.shared.protocol.layout import ReportsFolder


def print_gates(reports: ReportsFolder, checkpoint: str, gates: Gates, *, as_json: bool) -> bool:
    """Print the answers; whether all gates let the checkpoint pass. Raises NotComparable or ConfigError."""
    report = find_current_report(reports, checkpoint)
    entry = comparison_for(report, gates, SHIPPED)
    if report.evaluated:
        results = check_gates(report, gates, entry)
    else:
        results = [GateResult("evaluated", False, f"{report.outcome.value}: {report.reason}")]
    passed = all(result.passed for result in results)
    if as_json:
        document = {
            "checkpoint": report.checkpoint,
            "expert_version": report.expert_version,
            "passed": passed,
            "against": entry.against if entry else None,
            "against_version": entry.against_version if entry else None,
            "gates": [asdict(result) for result in results],
        }
        sys.stdout.write(to_json(document).decode())
    else:
        _print_lines(report, results, passed)
    return passed


def _print_lines(report: Report, results: Sequence[GateResult], passed: bool) -> None:
    console = make_console()
    for result in results:
        line = f"{'passed ' if result.passed else 'REFUSED'}  {result.gate}: {result.detail}"
        console.print(terminal_safe(line), highlight=False, markup=False, soft_wrap=True)
    named = f"{report.checkpoint} of {report.expert_name} {report.expert_version}"
    console.print(terminal_safe(f"{named} {'may be shipped' if passed else 'is refused'}"), markup=False)
