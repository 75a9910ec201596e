"""From an answer to a case's result: every check is asked, and none can raise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from evaluator.engine.protocol import Answer
from evaluator.results import TOP_SCORE, CaseResult, CaseStatus, CheckResult, SampleResult
from evaluator.suite.case import Case, Check
from evaluator.suite.scorers import SCORERS, Context
from evaluator.suite.scorers.base import MAX_ANSWER_CHARACTERS, shortened, verdict
from evaluator.suite.scorers.text import keywords_found


def score_answer(case: Case, answer: Answer, folder: Path) -> CaseResult:
    """The result of one answered case. ``folder`` is the suite's, where its fixtures lie. Never raises."""
    text = answer.text[:MAX_ANSWER_CHARACTERS]
    results = tuple(run_check(check, text, Context(folder)) for check in case.checks)
    return CaseResult(
        id=case.id,
        name=case.name,
        category=case.category,
        status=status_of(case, results),
        score=sum(result.score for result in results) / len(results) if results else None,
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
    results = [run_check(check, text, Context(folder)) for check in case.checks]
    if not results:
        return SampleResult(output, None, None)
    passed = all(result.passed for result in results)
    return SampleResult(output, passed, sum(result.score for result in results) / len(results))


def status_of(case: Case, results: tuple[CheckResult, ...]) -> CaseStatus:
    """Passed when every check passed; a case that checks nothing is unscored; may_fail cases stand apart. Pure."""
    if not results:
        return CaseStatus.UNSCORED
    passed = all(result.passed for result in results)
    if case.may_fail:
        return CaseStatus.UNEXPECTED_PASS if passed else CaseStatus.EXPECTED_FAILURE
    return CaseStatus.PASSED if passed else CaseStatus.FAILED


def run_check(check: Check, text: str, context: Context) -> CheckResult:
    """One scorer's opinion. Whatever a hostile answer sets off in it is a failed check, not an error."""
    scorer = SCORERS[check.scorer]
    try:
        parameters = scorer.parameters.model_validate(check.parameters)
        result = scorer.score(parameters, text, context)
    except Exception as error:  # parsers and a database, fed by a model: no list of what they raise is complete
        return verdict(check.scorer, False, f"cannot be scored: {type(error).__name__}: {shortened(error)}")
    return _turned_round(result) if parameters.negate else result


def _turned_round(result: CheckResult) -> CheckResult:
    return replace(result, passed=not result.passed, score=TOP_SCORE - result.score, detail=f"not: {result.detail}")
