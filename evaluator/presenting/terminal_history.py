"""How things went over the checkpoints of a training, for a terminal: small charts, and the table of ``history``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from rich import box
from rich.table import Table
from rich.text import Text

from sidestep.evaluator.cases.result import CaseStatus
from sidestep.evaluator.comparing.comparison import DECIDED
from sidestep.evaluator.presenting.lines import finished, lines_of
from sidestep.evaluator.presenting.markdown import visible
from sidestep.evaluator.results.report import Report
from sidestep.evaluator.results.store import StoredReport

BARS = "▁▂▃▄▅▆▇█"
LONGEST_CHART = 60
MOST_CHANGING = 5
_LETTERS = {
    CaseStatus.PASSED: "✓",
    CaseStatus.FAILED: "✗",
    CaseStatus.UNSCORED: "·",
    CaseStatus.EXPECTED_FAILURE: "e",
    CaseStatus.UNEXPECTED_PASS: "x",
}


@dataclass(frozen=True, kw_only=True)
class HistoryPoint:
    """One checkpoint of a line; ``status`` and ``score`` are of the one case that was asked for."""

    checkpoint: str
    step: int | None
    success_rate: float
    low: float | None
    high: float | None
    passed: int
    decided: int
    newly_broken: int | None
    newly_fixed: int | None
    train_loss: float | None
    archived: bool
    status: str | None = None
    score: float | None = None


@dataclass(frozen=True)
class LineHistory:
    """What is shown of a line: the base model and the evaluated checkpoints, and the cases that changed most often."""

    version: str
    model_folder: str
    points: tuple[HistoryPoint, ...]
    unstable: dict[str, int] = field(default_factory=dict)  # case id -> how often it went from passed to failed or back


def sparkline(values: Sequence[float | None], low: float | None = None, high: float | None = None) -> str:
    """Values as bars, one letter each; None is a gap. ``low`` and ``high`` default to the values' own range.

    >>> sparkline([0.0, 0.5, None, 1.0], 0, 1)
    '▁▅ █'
    """
    known = [value for value in values if value is not None]
    bottom, top = (min(known, default=0.0) if low is None else low), (max(known, default=0.0) if high is None else high)
    return "".join(" " if value is None else _bar(value, bottom, top) for value in values)


def _bar(value: float, low: float, high: float) -> str:
    share = (value - low) / (high - low) if high > low else 0.5
    return BARS[round(min(1.0, max(0.0, share)) * (len(BARS) - 1))]


def rate_line(reports: Iterable[Report]) -> str:
    """The success rate of the evaluated checkpoints by step in one line, or nothing when there are fewer than two."""
    found = sorted((report for report in reports if report.evaluated and report.step is not None), key=_step)
    if len(found) < 2:
        return ""
    rates = [report.test_results.success_rate for report in found]
    chart = sparkline(rates[-LONGEST_CHART:], 0, 1)
    return f"success {rates[0]:.1%} {chart} {rates[-1]:.1%}  (steps {found[0].step} to {found[-1].step}, 0 to 100 %)"


def history_lines(stored: Iterable[StoredReport], case: str | None = None) -> list[LineHistory]:
    """Every line that has an evaluated checkpoint, the newest one last. Pure."""
    histories = []
    for line in reversed(lines_of(sorted(stored, key=finished))):
        if line.evaluated:
            entries = [*([line.base] if line.base else []), *line.evaluated]
            points = tuple(_point(entry, case) for entry in entries)
            unstable = unstable_cases(entry.report for entry in entries)
            histories.append(LineHistory(line.version, line.model_folder, points, unstable))
    return histories


def unstable_cases(reports: Iterable[Report]) -> dict[str, int]:
    """Cases that changed more than once, most changes first."""
    last: dict[str, CaseStatus] = {}
    flips: dict[str, int] = {}
    for report in reports:
        for case in report.test_cases:
            if case.status in DECIDED:
                if last.get(case.id, case.status) is not case.status:
                    flips[case.id] = flips.get(case.id, 0) + 1
                last[case.id] = case.status
    often = sorted((item for item in flips.items() if item[1] > 1), key=lambda item: (-item[1], item[0]))
    return dict(often[:MOST_CHANGING])


def history_table(line: LineHistory, case: str | None) -> Table:
    """One line as a table, with a chart above it."""
    title = f"{line.version} on {line.model_folder}   {_chart(line, case)}"
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=_plain(title), title_justify="left", title_style="")
    columns = ["checkpoint", "success", "95 %", "", "fixed", "broken", "train loss"]
    for number, name in enumerate([*columns[:1], "status", "score"] if case else columns):
        table.add_column(name, no_wrap=number == 0)
    for point in line.points:
        table.add_row(*map(_plain, _case_cells(point) if case else _rate_cells(point)))
    if line.unstable and not case:
        often = ", ".join(f"{name} ({count})" for name, count in line.unstable.items())
        table.caption = _plain(f"changed most often: {often}")
        table.caption_justify = "left"
    return table


def _chart(line: LineHistory, case: str | None) -> str:
    points = line.points[-LONGEST_CHART:]
    if case:
        return f"{case}: " + "".join(_LETTERS[CaseStatus(point.status)] if point.status else " " for point in points)
    return sparkline([point.success_rate for point in points], 0, 1)


def _rate_cells(point: HistoryPoint) -> tuple[str, ...]:
    return (
        point.checkpoint + (" (archived)" if point.archived else ""),
        f"{point.success_rate:.1%}",
        "" if point.low is None or point.high is None else f"{point.low:.0%}–{point.high:.0%}",
        "█" * round(20 * point.success_rate),
        "" if point.newly_fixed is None else f"+{point.newly_fixed}",
        "" if point.newly_broken is None else f"-{point.newly_broken}",
        "" if point.train_loss is None else f"{point.train_loss:.4f}",
    )


def _case_cells(point: HistoryPoint) -> tuple[str, ...]:
    name = point.checkpoint + (" (archived)" if point.archived else "")
    return name, (point.status or "not asked").replace("_", " "), "" if point.score is None else f"{point.score:.1f}"


def _point(stored: StoredReport, case: str | None) -> HistoryPoint:
    report = stored.report
    counts, change = report.test_results, report.comparison
    asked = next((result for result in report.test_cases if result.id == case), None)
    compared = change.previous_checkpoint is not None
    return HistoryPoint(
        checkpoint=report.checkpoint,
        step=report.step,
        success_rate=counts.success_rate,
        low=counts.interval.low if counts.interval else None,
        high=counts.interval.high if counts.interval else None,
        passed=counts.passed,
        decided=counts.passed + counts.failed,
        newly_broken=len(change.new_failures) if compared else None,
        newly_fixed=len(change.fixed_failures) if compared else None,
        train_loss=report.training.loss,
        archived=stored.archived,
        status=asked.status.value if asked else None,
        score=asked.score if asked else None,
    )


def _plain(text: str) -> Text:
    return Text(visible(text))


def _step(report: Report) -> int:
    return -1 if report.step is None else report.step
