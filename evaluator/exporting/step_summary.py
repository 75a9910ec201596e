"""The summary that GitHub shows on a job's page: GITHUB_STEP_SUMMARY names the file, Markdown is appended to it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from sidestep.evaluator.cases.result import CaseStatus
from sidestep.evaluator.presenting.markdown import inline
from sidestep.evaluator.results.report import Report
from sidestep.shared.logs import get_logger

VARIABLE = "GITHUB_STEP_SUMMARY"
SHOWN_OUTPUT = 300
MAX_BYTES = 900 << 10  # GitHub refuses a step's summary of more than 1 MiB

log = get_logger("evaluator.export")


def append_step_summary(reports: Sequence[Report]) -> None:
    """Append to the file that the environment names; without effect elsewhere. Never raises for the file's sake."""
    named = os.environ.get(VARIABLE)
    if not named or not reports:
        return
    try:
        with Path(named).open("ab") as file:
            file.write(step_summary(reports).encode("utf-8", "replace")[:MAX_BYTES] + b"\n")
    except OSError as error:
        log.warning("the step summary %s cannot be written: %s", named, error.strerror)


def step_summary(reports: Sequence[Report]) -> str:
    """A table of the checkpoints, and for the newest one the verdict and what it newly broke. Pure."""
    lines = ["## Sidestep", "", "| checkpoint | passed | success rate | 95 % | broken | fixed | verdict |"]
    lines += ["|---|---|---|---|---|---|---|", *map(_row, reports)]
    evaluated = [report for report in reports if report.evaluated and report.step is not None]
    if evaluated:
        lines += _newest(max(evaluated, key=lambda report: report.step or 0))
    return "\n".join(lines) + "\n"


def _row(report: Report) -> str:
    if not report.evaluated:
        return f"| {inline(report.checkpoint)} | {report.outcome.value}: {inline(report.reason or '')} | | | | | |"
    counts, previous = report.test_results, report.comparisons.get("previous")
    rate = f"{counts.success_rate:.1%}" if counts.interval else "unscored"
    interval = f"{counts.interval.low:.1%} to {counts.interval.high:.1%}" if counts.interval else ""
    flips = (str(len(previous.new_failures)), str(len(previous.fixed_failures))) if previous else ("", "")
    verdict = previous.verdict.word.value if previous and previous.verdict else ""
    passed = f"{counts.passed} of {counts.passed + counts.failed}"
    return f"| {inline(report.checkpoint)} | {passed} | {rate} | {interval} | {flips[0]} | {flips[1]} | {verdict} |"


def _newest(report: Report) -> list[str]:
    lines = [
        f"\n**{inline(report.checkpoint)}** against {inline(entry.against)}: {inline(entry.verdict.sentence)}"
        for entry in report.comparisons.values()
        if entry.verdict
    ]
    failed = {case.id: case for case in report.test_cases if case.status is CaseStatus.FAILED}
    broken = [failed[name] for name in report.comparison.new_failures if name in failed]
    if broken:
        lines += ["", "### Newly broken", "", "| case | category | why | answer |", "|---|---|---|---|"]
    for case in broken:
        why = "; ".join(check.detail for check in case.checks if not check.passed)
        lines.append(
            f"| {inline(case.id)} | {inline(case.category)} | {inline(why)} | {inline(case.output[:SHOWN_OUTPUT])} |"
        )
    return lines
