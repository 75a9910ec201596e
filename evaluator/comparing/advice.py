"""``advice.json``: which checkpoint is best, where it is going, whether to stop. A pure function of all reports.

A trainer may read it and never waits for it: it says what was known when it was written. A reader can check with
``manifest_hash`` (the hash of its list of files) that a folder still holds the checkpoint that is meant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from sidestep.evaluator import statistics
from sidestep.evaluator.comparing.comparison import best_of, compare
from sidestep.evaluator.results.document import Document
from sidestep.evaluator.results.evidence import Family, VerdictWord
from sidestep.evaluator.results.report import Report
from sidestep.evaluator.statistics import ERROR_RATE, Interval

ADVICE_VERSION = 1
PATIENCE = 5  # checkpoints without a better one after which going on is not worth it
WORSE_IN_A_ROW = 2
TREND_OVER = 8  # newest checkpoints over which the trend is taken
_TREND_AT_LEAST = 5  # below that, Kendall's test cannot say anything


@dataclass(frozen=True, kw_only=True)
class BestCheckpoint(Document):
    """The checkpoint with the highest success rate (by weight where weights differ); the later one among equals."""

    checkpoint: str
    step: int
    success_rate: float
    interval: Interval | None
    files_hash: Annotated[str, Field(alias="manifest_hash")]
    run_id: str


@dataclass(frozen=True, kw_only=True)
class Trend(Document):
    """Whether the success rate rises or falls over the newest checkpoints (Kendall's test)."""

    word: str
    """``rising``, ``falling`` or ``no trend that can be shown``."""
    over_checkpoints: int
    tau: float
    p_value: float


@dataclass(frozen=True, kw_only=True)
class Stop(Document):
    """Whether ending the training is suggested, and why or why not."""

    suggested: bool
    reason: str


@dataclass(frozen=True, kw_only=True)
class ModelAdvice(Document):
    """Advice about one model's training."""

    expert_version: str
    newest_checkpoint: str
    newest_step: int
    newest_run_id: str
    """The training that published the newest checkpoint: whose training this advice is about."""
    evaluated_checkpoints: int
    best: BestCheckpoint
    as_good_as_best: tuple[str, ...]
    """Checkpoints of which this suite cannot show that they are worse than the best one."""
    trend: Trend
    stop: Stop


@dataclass(frozen=True, kw_only=True)
class Advice(Document):
    """``advice.json``: by the name of the model's folder, because one expert may have several."""

    schema_version: int = ADVICE_VERSION
    models: dict[str, ModelAdvice]


def advice_from(current: Sequence[Report]) -> Advice:
    """Advice about every model that has an evaluated checkpoint among the current reports."""
    models: dict[str, list[Report]] = {}
    for report in current:
        if report.evaluated and report.step is not None and report.test_results.passed + report.test_results.failed:
            models.setdefault(report.identity.key.model_folder, []).append(report)
    return Advice(models={name: _model_advice(sorted(group, key=_step)) for name, group in sorted(models.items())})


def _model_advice(reports: Sequence[Report]) -> ModelAdvice:
    """About one model's checkpoints, which are given by step; those of the newest one's version count."""
    newest = reports[-1]
    reports = [report for report in reports if report.expert_version == newest.expert_version]
    best = best_of(reports, newest) or newest
    trend = _trend([report.test_results.rate for report in reports][-TREND_OVER:])
    others = len(reports) - 1
    return ModelAdvice(
        expert_version=newest.expert_version,
        newest_checkpoint=newest.checkpoint,
        newest_step=_step(newest),
        newest_run_id=newest.training.run_id,
        evaluated_checkpoints=len(reports),
        best=_best_checkpoint(best),
        as_good_as_best=tuple(report.checkpoint for report in reports if not _is_worse(report, best, others)),
        trend=trend,
        stop=_stop_advice(reports, best, trend),
    )


def _best_checkpoint(best: Report) -> BestCheckpoint:
    return BestCheckpoint(
        checkpoint=best.checkpoint,
        step=_step(best),
        success_rate=best.test_results.rate,
        interval=best.test_results.interval_of_rate,
        files_hash=best.identity.key.files_hash,
        run_id=best.training.run_id,
    )


def _is_worse(report: Report, best: Report, candidates: int) -> bool:
    """Whether it is shown to be worse than the best one; that this was chosen among ``candidates`` is accounted for."""
    if report is best:
        return False
    verdict = compare(report, best, Family(number=0, candidates=max(1, candidates)), measures=False).verdict
    return verdict is not None and verdict.word is VerdictWord.BETTER


def _trend(rates: Sequence[float]) -> Trend:
    tau, p_value = statistics.trend_p(rates)
    shown = len(rates) >= _TREND_AT_LEAST and p_value <= ERROR_RATE
    word = ("rising" if tau > 0 else "falling") if shown else "no trend that can be shown"
    return Trend(word=word, over_checkpoints=len(rates), tau=tau, p_value=p_value)


def _stop_advice(reports: Sequence[Report], best: Report, trend: Trend) -> Stop:
    """Two reasons to stop: the newest are shown to be worse than the best, or nothing has been better for long."""
    after = [report for report in reports if _step(report) > _step(best)]
    newest = after[-WORSE_IN_A_ROW:]
    verdicts = [report.comparisons["best"].verdict for report in newest if "best" in report.comparisons]
    worse = [verdict for verdict in verdicts if verdict and verdict.word is VerdictWord.WORSE]
    if len(worse) == WORSE_IN_A_ROW:
        named = ", ".join(report.checkpoint for report in newest)
        return Stop(suggested=True, reason=f"{named} are worse than the best, {best.checkpoint}")
    if len(after) >= PATIENCE and trend.word != "rising":
        return Stop(
            suggested=True,
            reason=f"none of the {len(after)} checkpoints after {best.checkpoint} has a higher success rate",
        )
    if not after:
        return Stop(suggested=False, reason=f"the newest checkpoint, {best.checkpoint}, is the best so far")
    return Stop(
        suggested=False, reason=f"{len(after)} of {PATIENCE} checkpoints without a higher rate since {best.checkpoint}"
    )


def _step(report: Report) -> int:
    return report.step or 0
