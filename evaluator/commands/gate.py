"""Commands and options that judge: ``gate``, ``schema``, and what decides an exit code in ``watch`` and ``rerun``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from sidestep.evaluator.commands.options import Options, gates_of
from sidestep.evaluator.comparing.comparison import best_of
from sidestep.evaluator.comparing.gates import (
    SHIPPED,
    Against,
    GateResult,
    Gates,
    check_gates,
    comparison_for,
    parse_category_rates,
    with_options,
)
from sidestep.evaluator.presenting.schema import DOCUMENTS, schema_of
from sidestep.evaluator.results.report import ComparisonEntry, Report
from sidestep.evaluator.results.store import read_reports
from sidestep.evaluator.working.supervisor import RunResult
from sidestep.shared.commands.exit_codes import EXIT_REGRESSION
from sidestep.shared.errors import ConfigError, NotComparable
from sidestep.shared.files import to_json
from sidestep.shared.logs import configure_logging, get_logger, terminal_safe
from sidestep.shared.protocol.layout import ReportsFolder, step_named

log = get_logger("evaluator")

MaxDrop = Annotated[float | None, typer.Option(min=0, max=1, help="Gate: largest drop of the success rate, 0 to 1.")]
MinSuccessRate = Annotated[float | None, typer.Option(min=0, max=1, help="Gate: lowest success rate, 0 to 1.")]
MinCategoryRate = Annotated[
    list[str] | None, typer.Option(metavar="NAME=RATE", help="Gate: lowest success rate of a category; repeatable.")
]
ForbidRegression = Annotated[
    list[str] | None, typer.Option(metavar="CASE", help="Gate: a case that must not break, or all; repeatable.")
]
KeepReports = Annotated[
    int | None, typer.Option(min=0, help="Compress all but the newest N reports; nothing is lost. Default: none.")
]


def gates_given(
    gates: Gates,
    max_drop: float | None = None,
    min_success_rate: float | None = None,
    min_category_rate: Sequence[str] | None = None,
    forbid_regression: Sequence[str] | None = None,
) -> Gates:
    """The manifest's gates with the command line's on top."""
    return with_options(
        gates,
        {
            "max_drop": max_drop,
            "min_success_rate": min_success_rate,
            "min_category_rate": parse_category_rates(min_category_rate or ()),
            "forbidden_regressions": tuple(forbid_regression or ()),
        },
    )


def exit_for(
    result: RunResult, reports: ReportsFolder, manifest: Gates, given: Gates, fail_on_regression: bool
) -> None:
    """Exit with 3 when the newest checkpoint of this run is refused.

    The manifest's gates decide only with ``--fail-on-regression``, so that the exit code keeps its meaning for those
    who did not ask; gates on the command line are asking.
    """
    if result.newest is None or not (fail_on_regression or given != manifest):
        return
    named = (each.report for each in read_reports(reports) if not each.archived)
    report = next((each for each in named if each.checkpoint == result.newest.checkpoint), None)
    if report:
        asked = given if fail_on_regression else given.model_copy(update={"refuse_worse": False})
        _exit_if_refused(report, check_gates(report, asked, comparison_for(report, asked, (Against.PREVIOUS,))))


def exit_for_comparison(after: Report, entry: ComparisonEntry, gates: Gates, fail_on_regression: bool) -> None:
    """The same for two reports that somebody compares; absolute rates are not asked for."""
    if fail_on_regression:
        relative = gates.model_copy(update={"min_success_rate": None, "min_category_rate": {}})
        _exit_if_refused(after, check_gates(after, relative, entry))


def _exit_if_refused(report: Report, results: Sequence[GateResult]) -> None:
    refused = [each for each in results if not each.passed]
    for each in refused:
        log.error("%s is refused: %s: %s", report.checkpoint, each.gate, each.detail)
    if refused:
        raise typer.Exit(EXIT_REGRESSION)


def gate(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="An expert's folder, or its weights folder.")],
    checkpoint: Annotated[str, typer.Option(help="A step, best, or newest.")] = "newest",
    against: Annotated[
        Against | None, typer.Option(help="Compare with; default: previous_version_best, or else base.")
    ] = None,
    max_drop: MaxDrop = None,
    min_success_rate: MinSuccessRate = None,
    min_category_rate: MinCategoryRate = None,
    forbid_regression: ForbidRegression = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    weights_dir: Annotated[Path | None, typer.Option(help="Weights folder, where it is not PATH/weights.")] = None,
    reports_dir: Annotated[Path | None, typer.Option(help="Where reports are, if not in the weights folder.")] = None,
) -> None:
    """Whether a checkpoint may be shipped: exit with 3 when a gate refuses it. Reads reports, runs nothing."""
    configure_logging()
    options = Options(path, weights_dir=weights_dir, reports_dir=reports_dir)
    gates = gates_given(gates_of(options), max_drop, min_success_rate, min_category_rate, forbid_regression)
    if against:
        gates = gates.model_copy(update={"against": against})
    report = chosen_report(options.place().reports, checkpoint)
    entry = comparison_for(report, gates, SHIPPED)
    if report.evaluated:
        results = check_gates(report, gates, entry)
    else:
        results = [GateResult("evaluated", False, f"{report.outcome.value}: {report.reason}")]
    refused = any(not each.passed for each in results)
    if as_json:
        document = {
            "checkpoint": report.checkpoint,
            "expert_version": report.expert_version,
            "passed": not refused,
            "against": entry.against if entry else None,
            "against_version": entry.against_version if entry else None,
            "gates": [asdict(each) for each in results],
        }
        sys.stdout.write(to_json(document).decode())
    else:
        _print(report, results, refused)
    if refused:
        raise typer.Exit(EXIT_REGRESSION)


def chosen_report(reports: ReportsFolder, name: str) -> Report:
    """The current report that ``newest``, ``best`` or a step means; one that ended otherwise than evaluated, too.

    Raises NotComparable or ConfigError.
    """
    current = [each.report for each in read_reports(reports) if each.is_current_version]
    if name == "newest":
        found = max(current, key=lambda each: each.step or 0, default=None)
    elif name == "best":
        found = best_of(each for each in current if each.evaluated)
    elif (step := step_named(name)) is not None:
        found = next((each for each in current if each.step == step), None)
    else:
        raise ConfigError(f"--checkpoint {name!r} is neither a step nor best nor newest")
    if found is None:
        known = ", ".join(sorted(each.checkpoint for each in current)) or "none"
        raise NotComparable(f"{reports.root} has no report of {name!r}", hint=f"there are: {known}")
    return found


def schema(
    name: Annotated[str, typer.Argument(metavar="NAME", help=", ".join(DOCUMENTS))] = "report",
) -> None:
    """Print the JSON Schema of a document that the evaluator writes."""
    if name not in DOCUMENTS:
        raise ConfigError(f"there is no schema of {name!r}", hint=f"known are {', '.join(DOCUMENTS)}")
    sys.stdout.write(to_json(schema_of(name)).decode())


def _print(report: Report, results: Sequence[GateResult], refused: bool) -> None:
    console = Console(width=None if sys.stdout.isatty() else 120)
    for each in results:
        line = f"{'passed ' if each.passed else 'REFUSED'}  {each.gate}: {each.detail}"
        console.print(terminal_safe(line), highlight=False, markup=False, soft_wrap=True)
    named = f"{report.checkpoint} of {report.expert_name} {report.expert_version}"
    console.print(terminal_safe(f"{named} {'is refused' if refused else 'may be shipped'}"), markup=False)
