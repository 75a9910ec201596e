"""Tables for people in a terminal, from reports; the same facts as plain values for ``--json``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from sidestep.evaluator.presenting.markdown import visible
from sidestep.evaluator.results.evidence import VerdictWord
from sidestep.evaluator.results.report import ComparisonEntry, Report


@dataclass(frozen=True)
class StatusRow:
    """One line of ``status``: a checkpoint and how far it is (``pending``, ``evaluating``, or its outcome)."""

    checkpoint: str
    state: str
    detail: str = ""
    model_folder: str = ""
    version: str = ""


def summary_table(reports: Sequence[Report]) -> Table:
    """One row per checkpoint: rate, flips against the previous one, training loss, latency."""
    table = _table(
        "checkpoint", "passed", "success", "95 %", "fixed", "broken", "verdict", "train loss", "latency", "outcome"
    )
    for report in sorted(reports, key=_order):
        table.add_row(*map(_cell, summary_row(report).values()))
    return table


def summary_row(report: Report) -> dict[str, str]:
    counts, change = report.test_results, report.comparison
    decided = counts.passed + counts.failed
    compared = change.previous_checkpoint is not None
    return {
        "checkpoint": report.checkpoint,
        "passed": f"{counts.passed}/{decided}" if report.evaluated else "",
        "success": f"{counts.success_rate:.1%}" if report.evaluated and decided else "",
        "95 %": f"{counts.interval.low:.0%}–{counts.interval.high:.0%}" if report.evaluated and counts.interval else "",
        "fixed": f"+{len(change.fixed_failures)}" if compared else "",
        "broken": f"-{len(change.new_failures)}" if compared else "",
        "verdict": short_verdict(report),
        "train loss": "" if report.training.loss is None else f"{report.training.loss:.4f}",
        "latency": "" if report.timing.latency_seconds is None else f"{report.timing.latency_seconds:.1f} s",
        "outcome": report.outcome.value,
    }


def short_verdict(report: Report) -> str:
    """The word against the previous checkpoint, where a column has room for one: better, worse or ``=``."""
    entry = report.comparisons.get("previous")
    if entry is None or entry.verdict is None:
        return ""
    return "=" if entry.verdict.word is VerdictWord.UNDECIDED else entry.verdict.word.value


def comparison_table(entry: ComparisonEntry, after: Report) -> Table:
    """What changed between two reports, cases by name."""
    table = _table("", f"{entry.against} {entry.against_version}", f"{after.checkpoint} {after.expert_version}")
    table.add_row("success rate", f"{entry.rate_before:.1%}", f"{entry.rate_after:.1%}")
    table.add_row("", *("█" * round(20 * rate) or "▏" for rate in (entry.rate_before, entry.rate_after)))
    if entry.verdict:
        table.add_row("verdict", "", _cell(entry.verdict.sentence))
    table.add_row("compared cases", str(entry.compared_cases), str(entry.compared_cases))
    groups = {
        "newly broken": entry.new_failures,
        "newly fixed": entry.fixed_failures,
        "better score": entry.improved_tests,
        "worse score": entry.regressed_tests,
    }
    for name, cases in groups.items():
        table.add_row(name, "", _cell(f"{len(cases)}" + (f": {', '.join(cases)}" if cases else "")))
    for note in entry.notes:
        table.add_row("note", "", _cell(note))
    return table


def status_table(rows: Sequence[StatusRow]) -> Table:
    """Pending, running and ended checkpoints."""
    table = _table("checkpoint", "state", "detail", "model", "version")
    for row in rows:
        table.add_row(*map(_cell, (row.checkpoint, row.state, row.detail, row.model_folder, row.version)))
    return table


def comparison_document(entry: ComparisonEntry, after: Report) -> dict[str, Any]:
    return {"before": entry.against, "after": after.checkpoint, **entry.to_dict()}


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(_cell(column), no_wrap=number == 0)
    return table


def _cell(text: str) -> Text:
    """Plain text: no markup, and no control characters from untrusted input."""
    return Text(visible(text))


def _order(report: Report) -> tuple[str, int]:
    return report.expert_version if report.step is not None else "", -1 if report.step is None else report.step
