"""How far a judge agrees with the other checks: counted over cases that have both, and shown."""

from __future__ import annotations

import pytest

from sidestep.evaluator.cases.case import Case, Check, Message, Suite
from sidestep.evaluator.cases.result import CaseResult, CaseStatus, CheckResult
from sidestep.evaluator.comparing.agreement import cohens_kappa, llm_judge_entry
from sidestep.evaluator.presenting.markdown import report_markdown
from tests.fakes.reports import make_report

SUITE = Suite("s", "1", (Case("a", "a", (Message("user", "x"),), (Check("judge", {"judged_by": "wise at u"}),)),), "h")


def _case(judge: bool | None = None, rules: bool | None = None, *, asked: bool = True) -> CaseResult:
    checks = []
    if asked:
        score = None if judge is None else 10.0 * judge
        checks.append(CheckResult(scorer="judge", passed=bool(judge), score=score))
    if rules is not None:
        checks.append(CheckResult(scorer="exact", passed=rules, score=10.0 * rules))
    return CaseResult(id="a", name="a", status=CaseStatus.PASSED, score=None, output="", checks=tuple(checks))


# 45 cases both pass, 15 only the judge passes, 25 only the rules pass, 15 both fail: kappa 0.13
TABLE = [(True, True)] * 45 + [(True, False)] * 15 + [(False, True)] * 25 + [(False, False)] * 15


def test_agreement_over_the_cases_that_have_both() -> None:
    cases = [_case(*pair) for pair in TABLE] + [_case(None, True), _case(True), _case(rules=False, asked=False)]
    entry = llm_judge_entry(cases, SUITE)
    assert entry is not None
    assert (entry.judge, entry.judged, entry.undecided) == ("wise at u", 101, 1)
    assert (entry.compared, entry.agreed, entry.agreement) == (100, 60, 0.6)
    by_chance = 0.6 * 0.7 + 0.4 * 0.3
    assert entry.kappa == pytest.approx((0.6 - by_chance) / (1 - by_chance))


@pytest.mark.parametrize("pairs", [[], [(True, True)], [(True, True), (True, False)], [(False, False)] * 3])
def test_there_is_no_kappa_where_a_side_always_says_the_same(pairs: list[tuple[bool, bool]]) -> None:
    assert cohens_kappa(pairs) is None


def test_reports_without_a_judge_say_nothing_about_one() -> None:
    assert llm_judge_entry([_case(rules=True, asked=False)], SUITE) is None
    report = make_report(10, {"a": CaseStatus.PASSED})
    assert report.judge is None
    assert "Judged" not in report_markdown(report)


@pytest.mark.parametrize(
    ("cases", "line"),
    [
        (
            [_case(*pair) for pair in TABLE] + [_case(None)],
            "Judged by wise at u: 100 cases, 1 undecided; agrees with the other checks on 60 of 100 cases "
            "(60%, kappa 0.13)",
        ),
        ([_case(True, True)], "Judged by wise at u: 1 cases; agrees with the other checks on 1 of 1 cases (100%)"),
        ([_case(True)], "Judged by wise at u: 1 cases; no case has other checks to compare it with"),
    ],
)
def test_people_read_it_in_the_report(cases: list[CaseResult], line: str) -> None:
    report = make_report(10, {"a": CaseStatus.PASSED}, judge=llm_judge_entry(cases, SUITE))
    assert f"- {line}\n" in report_markdown(report)
