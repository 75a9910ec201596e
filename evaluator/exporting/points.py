"""From reports to the curves that a tracker shows: one run per training, one point per checkpoint. Pure.

Every destination gets the same points, so what is in a run, what it is called and which metrics it has is decided here
and nowhere else. The x axis is the training step; the base model is the point at step 0.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from sidestep.evaluator.cases.case import DEFAULT_CATEGORY
from sidestep.evaluator.cases.result import CaseResult
from sidestep.evaluator.presenting.markdown import inline
from sidestep.evaluator.results.report import Report
from sidestep.evaluator.results.store import StoredReport

PREFIX = "sidestep/"
FLIPS = (f"{PREFIX}newly_broken", f"{PREFIX}newly_fixed")
SHOWN_OUTPUT = 300


@dataclass(frozen=True)
class Point:
    """One evaluated checkpoint on a run's curves. ``timestamp`` is when the evaluation ended, in seconds."""

    step: int
    report: Report = field(repr=False)
    metrics: Mapping[str, float]
    timestamp: float
    settled: bool = True  # False while an older checkpoint waits: what it broke is not known yet

    @property
    def broken(self) -> tuple[CaseResult, ...]:
        """The cases that this checkpoint newly broke, as they are answered now; none where that is not new."""
        names = set(self.report.comparison.new_failures) if FLIPS[0] in self.metrics else set()
        return tuple(case for case in self.report.test_cases if case.id in names)


@dataclass(frozen=True)
class Run:
    """All checkpoints that one training process published, by step. ``key`` names it among all runs of the folder."""

    key: str
    name: str
    group: str
    expert: str
    config: Mapping[str, str]
    points: tuple[Point, ...]


def runs_of(stored: Iterable[StoredReport], waiting: Collection[int] = ()) -> list[Run]:
    """Every training's run. ``waiting`` are the steps that still have no outcome."""
    latest: dict[tuple[str, int], StoredReport] = {}
    for entry in stored:
        report = entry.report
        if not report.evaluated or report.step is None:
            continue
        place = (_key(report), report.step)
        if place not in latest or _recency(entry) > _recency(latest[place]):
            latest[place] = entry
    bases = _bases(stored)
    runs: dict[str, list[Report]] = {}
    for (key, _), entry in sorted(latest.items(), key=lambda item: item[0]):
        runs.setdefault(key, []).append(entry.report)
    return [_run(key, reports, bases, waiting) for key, reports in runs.items()]


def _bases(stored: Iterable[StoredReport]) -> dict[tuple[str, str], Report]:
    """The base model's current report by version and by the name it was called by; ``""`` is any name."""
    found = [entry for entry in stored if entry.report.step is None and entry.report.evaluated]
    bases: dict[tuple[str, str], Report] = {}
    for entry in sorted(found, key=_recency):
        bases[_line(entry.report)] = bases[entry.report.expert_version, ""] = entry.report
    return bases


def _run(key: str, reports: Sequence[Report], bases: Mapping[tuple[str, str], Report], waiting: Collection[int]) -> Run:
    newest = reports[-1]
    base = bases.get(_line(newest)) or bases.get((newest.expert_version, ""))
    steps = {report.step for report in reports}
    first = [base] if base is not None and 0 not in steps else []
    name = " ".join((newest.expert_name, newest.expert_version, newest.training.run_id[:8])).strip()
    return Run(
        key=key,
        name=name,
        group=f"{newest.expert_name} {newest.expert_version}",
        expert=newest.expert_name,
        config={
            "expert": newest.expert_name,
            "version": newest.expert_version,
            "model": newest.identity.key.model_folder,
            "adapter": newest.training.adapter_type,
            "suite": newest.suite.name,
            "suite_sha256": newest.suite.sha256,
        },
        points=tuple(point_of(report, waiting) for report in (*first, *reports)),
    )


def point_of(report: Report, waiting: Collection[int] = ()) -> Point:
    """The point of one evaluated report; flips are left out while an older checkpoint waits for its turn."""
    step = report.step or 0
    settled = not any(other < step for other in waiting)
    metrics = metrics_of(report)
    if not settled:
        metrics = {name: value for name, value in metrics.items() if name not in FLIPS}
    return Point(step, report, metrics, timestamp_of(report), settled)


def metrics_of(report: Report) -> dict[str, float]:
    """Every number worth a curve, finite ones only."""
    counts = report.test_results
    scores = [case.score for case in report.test_cases if case.score is not None]
    likelihoods = [case.reference_logprob for case in report.test_cases if case.reference_logprob is not None]
    found: dict[str, float | None] = {
        "passed": counts.passed,
        "failed": counts.failed,
        "unscored": counts.unscored,
        "mean_score": sum(scores) / len(scores) if scores else None,
        "reference_logprob": sum(likelihoods) / len(likelihoods) if likelihoods else None,
        "train_loss": report.training.loss,
        "learning_rate": report.training.learning_rate,
        "latency_seconds": report.timing.latency_seconds,
    }
    if counts.interval:
        found |= {
            "success_rate": counts.success_rate,
            "success_rate_low": counts.interval.low,
            "success_rate_high": counts.interval.high,
        }
    if report.comparison.previous_checkpoint:
        found["newly_broken"] = len(report.comparison.new_failures)
        found["newly_fixed"] = len(report.comparison.fixed_failures)
    for name, category in report.categories.items():
        if category.interval:
            found[f"category/{metric_name(name or DEFAULT_CATEGORY)}"] = category.success_rate
    return {
        f"{PREFIX}{name}": float(value) for name, value in found.items() if value is not None and math.isfinite(value)
    }


def metric_name(text: str) -> str:
    """A category as part of a metric's name: what all trackers accept."""
    name = re.sub(r"[^A-Za-z0-9_.\- ]", "_", text).strip()[:60]
    return name if name == text else f"{name}-{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()[:6]}"


def broken_markdown(point: Point) -> str:
    """A table of the newly broken cases; everything a model said is inert in it."""
    cells = [(case.id, case.category, case.output[:SHOWN_OUTPUT]) for case in point.broken]
    rows = [f"| {' | '.join(map(inline, row))} |" for row in cells]
    against = inline(point.report.comparison.previous_checkpoint or "")
    return "\n".join([f"Newly broken since {against}", "", "| case | category | answer now |", "|---|---|---|", *rows])


def unfinished(points: Sequence[Point], sent: Mapping[int, Mapping[str, float]]) -> list[Point]:
    """What a destination has not got yet: new points whole, and of known points the metrics that have changed."""
    found = []
    for point in points:
        known = sent.get(point.step)
        fresh = {name: value for name, value in point.metrics.items() if known is None or known.get(name) != value}
        if fresh:
            found.append(replace(point, metrics=fresh))
    return found


def timestamp_of(report: Report) -> float:
    """When the evaluation ended, in seconds since the epoch; 0 where the report does not say."""
    try:
        moment = datetime.fromisoformat(report.timing.finished_at)
    except ValueError:
        return 0.0
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _key(report: Report) -> str:
    return "/".join((report.expert_version, report.identity.key.model_folder, report.training.run_id))


def _line(report: Report) -> tuple[str, str]:
    return report.expert_version, report.identity.key.model_folder


def _recency(stored: StoredReport) -> tuple[bool, str]:
    return not stored.archived, stored.report.timing.finished_at
