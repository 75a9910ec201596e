"""pass@k against counting, and which cases take part."""

from __future__ import annotations

from itertools import combinations

import pytest

from sidestep.evaluator.cases.result import CaseResult, CaseStatus, SampleResult
from sidestep.evaluator.comparing.pass_at_k import estimate, pass_at_k


@pytest.mark.parametrize(("drawn", "passed", "k"), [(5, 2, 1), (5, 2, 3), (6, 0, 2), (4, 4, 4), (10, 3, 5)])
def test_it_is_the_share_of_choices_with_a_passing_answer(drawn: int, passed: int, k: int) -> None:
    answers = [True] * passed + [False] * (drawn - passed)
    choices = list(combinations(answers, k))
    assert estimate(drawn, passed, k) == pytest.approx(sum(map(any, choices)) / len(choices))


def _case(status: CaseStatus, *others: bool) -> CaseResult:
    samples = tuple(SampleResult(output="", passed=passed, score=None) for passed in others)
    return CaseResult(id="a", name="a", status=status, score=None, output="", samples=samples)


def test_decided_cases_with_samples_count() -> None:
    cases = [
        _case(CaseStatus.PASSED, False, False, False),
        _case(CaseStatus.FAILED, False, False, False),
        _case(CaseStatus.UNSCORED, True, True, True),
    ]
    assert pass_at_k(cases) == {"1": pytest.approx(1 / 8), "2": pytest.approx(1 / 4), "4": pytest.approx(1 / 2)}
    assert pass_at_k([_case(CaseStatus.PASSED)]) == {}
