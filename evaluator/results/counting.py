"""How many cases passed: counts, rates and their intervals, over all cases of a report and by category. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from sidestep.evaluator.cases.result import CaseResult, CaseStatus
from sidestep.evaluator.results.document import Document
from sidestep.evaluator.statistics import Interval, effective_cases, wilson


@dataclass(frozen=True, kw_only=True)
class WeightedRate(Document):
    """The success rate with each case counted by its weight; present only where weights differ."""

    rate: float
    interval: Interval
    effective_cases: float
    """How many cases of equal weight would give as much information (Kish)."""


@dataclass(frozen=True, kw_only=True)
class TestResults(Document):
    """Counts; ``success_rate`` is passed / (passed + failed): unscored and may_fail cases are counted separately.

    ``interval`` is Wilson's of the success rate, null when nothing was decided; ``weighted`` is null where all weights
    are equal.
    """

    total: int = 0
    passed: int = 0
    failed: int = 0
    success_rate: float = 0.0
    unscored: int = 0
    expected_failures: int = 0
    unexpected_passes: int = 0
    interval: Interval | None = None
    weighted: WeightedRate | None = None

    @property
    def rate(self) -> float:
        """The success rate by which checkpoints are ranked: by weight where weights differ."""
        return self.weighted.rate if self.weighted else self.success_rate

    @property
    def interval_of_rate(self) -> Interval | None:
        """The interval of ``rate``; None when nothing was decided."""
        return self.weighted.interval if self.weighted else self.interval


def count_results(cases: tuple[CaseResult, ...]) -> TestResults:
    """Counts and rates over cases. Pure."""
    statuses = [case.status for case in cases]
    passed, failed = statuses.count(CaseStatus.PASSED), statuses.count(CaseStatus.FAILED)
    decided = passed + failed
    return TestResults(
        total=len(cases),
        passed=passed,
        failed=failed,
        success_rate=passed / decided if decided else 0.0,
        unscored=statuses.count(CaseStatus.UNSCORED),
        expected_failures=statuses.count(CaseStatus.EXPECTED_FAILURE),
        unexpected_passes=statuses.count(CaseStatus.UNEXPECTED_PASS),
        interval=wilson(passed, decided) if decided else None,
        weighted=weighted_rate(cases),
    )


def weighted_rate(cases: tuple[CaseResult, ...]) -> WeightedRate | None:
    """The rate with each decided case counted by its weight, or None where that is the success rate itself."""
    decided = [case for case in cases if case.status in (CaseStatus.PASSED, CaseStatus.FAILED)]
    weights = [case.weight for case in decided]
    if len(set(weights)) < 2:
        return None
    rate = sum(case.weight for case in decided if case.status is CaseStatus.PASSED) / sum(weights)
    count = effective_cases(weights)
    return WeightedRate(rate=rate, interval=wilson(rate * count, count), effective_cases=count)


def count_by_category(cases: tuple[CaseResult, ...]) -> dict[str, TestResults]:
    """Counts for each category, in the order of first appearance."""
    categories = dict.fromkeys(case.category for case in cases)
    return {name: count_results(tuple(case for case in cases if case.category == name)) for name in categories}
