"""Gates among the options: on top of the manifest's, and what decides the exit code of watch, rerun and compare."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sidestep.evaluator.comparing.against import Against
from sidestep.evaluator.comparing.gates import (
    GateResult,
    Gates,
    check_gates,
    comparison_for,
    parse_category_rates,
    with_options,
)
from sidestep.evaluator.results.report import ComparisonEntry, Report
from sidestep.evaluator.results.store import read_reports
from sidestep.shared.commands.exit_codes import EXIT_REGRESSION
from sidestep.shared.commands.options import GateOptions, RegressionGateOptions
from sidestep.shared.logs import get_logger
from sidestep.shared.protocol.layout import ReportsFolder

if TYPE_CHECKING:
    from sidestep.evaluator.working.supervisor import RunResult

log = get_logger("evaluator")


def gates_with(gates: Gates, options: RegressionGateOptions) -> Gates:
    """The manifest's gates with those among the options on top. Raises ConfigError."""
    given: dict[str, Any] = {"max_drop": options.max_drop, "forbidden_regressions": options.forbid_regression}
    if isinstance(options, GateOptions):
        given |= {
            "min_success_rate": options.min_success_rate,
            "min_category_rate": parse_category_rates(options.min_category_rate),
        }
    return with_options(gates, given)


def exit_if_refused(result: RunResult, reports: ReportsFolder, gates: Gates) -> None:
    """Exit with 3 when a gate refuses the newest checkpoint of this run."""
    if result.newest is None:
        return
    current = (stored.report for stored in read_reports(reports) if not stored.archived)
    report = next((report for report in current if report.checkpoint == result.newest.checkpoint), None)
    if report:
        _exit_with(report, check_gates(report, gates, comparison_for(report, gates, (Against.PREVIOUS,))))


def exit_if_comparison_refused(after: Report, entry: ComparisonEntry, gates: Gates) -> None:
    """The same for two reports that somebody compares; absolute rates are not asked for."""
    relative = gates.model_copy(update={"min_success_rate": None, "min_category_rate": {}})
    _exit_with(after, check_gates(after, relative, entry))


def _exit_with(report: Report, results: Sequence[GateResult]) -> None:
    refused = [result for result in results if not result.passed]
    for answer in refused:
        log.error("%s is refused: %s: %s", report.checkpoint, answer.gate, answer.detail)
    if refused:
        raise SystemExit(EXIT_REGRESSION)
