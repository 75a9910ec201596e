"""From an answer to a case's result: every check is asked, and none can raise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from sidestep.evaluator.cases.case import Case, Check
from sidestep.evaluator.cases.exchange import Answer
from sidestep.evaluator.cases.result import TOP_SCORE, CaseResult, CaseStatus, CheckResult, SampleResult
from sidestep.evaluator.suite.checks import validated_parameters
from sidestep.evaluator.suite.scorers import SCORERS, Context
from sidestep.evaluator.suite.scorers.base import MAX_ANSWER_CHARACTERS, check_result, shortened
from sidestep.evaluator.suite.scorers.text import keywords_found


def score_answer(case: Case, answer: Answer, folder: Path) -> CaseResult:
    """The result of one answered case. ``folder`` is the suite's, where its fixtures lie. Never raises."""
    text = answer.text[:MAX_ANSWER_CHARACTERS]
    results = tuple(run_check(check, text, Context(folder, case.messages)) for check in case.checks)
    status = status_of(case, results)
    return CaseResult(
        id=case.id,
        name=case.name,
        category=case.category,
        status=status,
        score=None if status is CaseStatus.UNSCORED else _mean(results),
        output=answer.text,
        checks=results,
        expected_keywords=case.expected_keywords,
        keywords_found=keywords_found(text, case.expected_keywords),
        failure_reason=case.failure_reason,
        weight=case.weight,
        prompt_tokens=answer.prompt_tokens,
        output_tokens=answer.output_tokens,
        finish_reason=answer.finish_reason,
        seconds=answer.seconds,
        reference_logprob=answer.reference_logprob,
        samples=tuple(_sample(case, text, folder) for text in answer.others),
    )


def _sample(case: Case, output: str, folder: Path) -> SampleResult:
    """One of several answers, by the same checks."""
    text = output[:MAX_ANSWER_CHARACTERS]
    results = tuple(run_check(check, text, Context(folder, case.messages)) for check in case.checks)
    passed = _passed(results)
    return SampleResult(output, passed, None if passed is None else _mean(results))


def _passed(results: tuple[CheckResult, ...]) -> bool | None:
    """Whether every check passed. One that failed decides; without one, an undecided check leaves all undecided."""
    decided = [result.passed for result in results if result.score is not None]
    if not all(decided):
        return False
    return True if results and len(decided) == len(results) else None


def _mean(results: tuple[CheckResult, ...]) -> float:
    scores = [result.score for result in results if result.score is not None]
    return sum(scores) / len(scores)


def status_of(case: Case, results: tuple[CheckResult, ...]) -> CaseStatus:
    """Passed when every check passed; undecided ones are unscored; may_fail cases are counted separately. Pure."""
    passed = _passed(results)
    if passed is None:
        return CaseStatus.UNSCORED
    if case.may_fail:
        return CaseStatus.UNEXPECTED_PASS if passed else CaseStatus.EXPECTED_FAILURE
    return CaseStatus.PASSED if passed else CaseStatus.FAILED


def run_check(check: Check, text: str, context: Context) -> CheckResult:
    """One scorer's opinion. Whatever a hostile answer sets off in it is a failed check, not an error."""
    parameters = validated_parameters(check)
    try:
        result = SCORERS[check.scorer].score(parameters, text, context)
    except Exception as error:  # parsers and a database, fed by a model: no list of what they raise is complete
        return check_result(check.scorer, False, f"cannot be scored: {type(error).__name__}: {shortened(error)}")
    return _invert(result) if parameters.negate else result


def _invert(result: CheckResult) -> CheckResult:
    if result.score is None:
        return result
    return replace(result, passed=not result.passed, score=TOP_SCORE - result.score, detail=f"not: {result.detail}")
