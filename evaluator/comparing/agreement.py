"""How far a language model that grades answers (the judge) agrees with the scorers that are rules, on cases with both.

A judge is an instrument that nobody has calibrated for this suite; this is the little that a report can say about it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from sidestep.evaluator.cases.case import LLM_JUDGE, Suite
from sidestep.evaluator.cases.result import CaseResult, CheckResult
from sidestep.evaluator.results.evidence import LlmJudgeEntry


def llm_judge_entry(cases: Sequence[CaseResult], suite: Suite | None) -> LlmJudgeEntry | None:
    """What the report says about the judge; None where no case has one. Pure."""
    results = [(_passed(case, by_judge=True), _passed(case, by_judge=False)) for case in cases if _has_judge(case)]
    if not results:
        return None
    both = [(judge, rules) for judge, rules in results if judge is not None and rules is not None]
    judged = sum(judge is not None for judge, _ in results)
    agreed = sum(judge is rules for judge, rules in both)
    return LlmJudgeEntry(
        judge=_judge_name(suite),
        judged=judged,
        undecided=len(results) - judged,
        compared=len(both),
        agreed=agreed,
        agreement=agreed / len(both) if both else None,
        kappa=cohens_kappa(both),
    )


def cohens_kappa(pairs: Sequence[tuple[bool, bool]]) -> float | None:
    """Agreement beyond chance; None where a side always says the same, for then chance explains everything."""
    if any(len({pair[side] for pair in pairs}) < 2 for side in (0, 1)):
        return None
    from statsmodels.stats.inter_rater import cohens_kappa as kappa_of

    table = [[pairs.count((first, second)) for second in (True, False)] for first in (True, False)]
    value = float(kappa_of(table).kappa)
    return value if math.isfinite(value) else None


def _has_judge(case: CaseResult) -> bool:
    return any(check.scorer == LLM_JUDGE for check in case.checks)


def _passed(case: CaseResult, *, by_judge: bool) -> bool | None:
    """Whether all checks of one side passed; None where it has none, or one of them is undecided."""
    checks: list[CheckResult] = [check for check in case.checks if (check.scorer == LLM_JUDGE) is by_judge]
    if not checks or any(check.score is None for check in checks):
        return None
    return all(check.passed for check in checks)


def _judge_name(suite: Suite | None) -> str:
    found = (check.parameters.get("judged_by") for case in suite.cases for check in case.checks) if suite else iter(())
    return next((str(name) for name in found if name), "")
