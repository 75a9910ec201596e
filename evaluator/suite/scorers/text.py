"""Scorers that look at the answer as text: keywords, exact, contains, regex."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import re2
from pydantic import Field, model_validator

from sidestep.evaluator.cases.result import PASS_SCORE, TOP_SCORE, CheckResult
from sidestep.evaluator.suite.scorers.base import Context, Parameters, Scorer, check_result, shortened


class KeywordsParameters(Parameters):
    """Words that must, and words that must not, occur; case does not matter."""

    keywords: tuple[str, ...] = ()
    forbidden: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _something_to_look_for(self) -> KeywordsParameters:
        if not self.keywords and not self.forbidden:
            raise ValueError("names neither keywords nor forbidden words")
        return self


def keywords_found(answer: str, keywords: tuple[str, ...]) -> tuple[str, ...]:
    """The keywords that occur in the answer, case-insensitively, in their order."""
    lowered = answer.lower()
    return tuple(keyword for keyword in keywords if keyword.lower() in lowered)


def score_keywords(parameters: KeywordsParameters, answer: str, context: Context) -> CheckResult:
    """10 x found / expected, passed from 8 on, as the host's tests always did; a forbidden word fails."""
    forbidden = keywords_found(answer, parameters.forbidden)
    if forbidden:
        return check_result("keywords", False, f"forbidden: {', '.join(forbidden)}")
    if not parameters.keywords:
        return check_result("keywords", True, "no forbidden word")
    found = keywords_found(answer, parameters.keywords)
    missing = [keyword for keyword in parameters.keywords if keyword not in found]
    score = TOP_SCORE * len(found) / len(parameters.keywords)
    detail = f"missing: {', '.join(missing)}" if missing else "all found"
    return check_result("keywords", score >= PASS_SCORE, detail, score)


class ExactParameters(Parameters):
    """The whole answer, without surrounding space."""

    value: str
    ignore_case: bool = False


def score_exact(parameters: ExactParameters, answer: str, context: Context) -> CheckResult:
    given, wanted = answer.strip(), parameters.value.strip()
    if parameters.ignore_case:
        given, wanted = given.casefold(), wanted.casefold()
    return check_result("exact", given == wanted, "equal" if given == wanted else f"got {shortened(answer)}")


class ContainsParameters(Parameters):
    """Texts of which all, or at least one, must occur in the answer."""

    values: tuple[str, ...] = Field(min_length=1)
    mode: Literal["all", "any"] = "all"
    ignore_case: bool = False


def score_contains(parameters: ContainsParameters, answer: str, context: Context) -> CheckResult:
    given = answer.casefold() if parameters.ignore_case else answer
    missing = [
        value for value in parameters.values if (value.casefold() if parameters.ignore_case else value) not in given
    ]
    passed = not missing if parameters.mode == "all" else len(missing) < len(parameters.values)
    return check_result("contains", passed, "found" if passed else f"missing: {shortened(', '.join(missing))}")


class StartsWithParameters(Parameters):
    """What the answer must begin with, after surrounding space."""

    value: str = Field(min_length=1)
    ignore_case: bool = False


def score_starts_with(parameters: StartsWithParameters, answer: str, context: Context) -> CheckResult:
    given, wanted = answer.strip(), parameters.value.strip()
    if parameters.ignore_case:
        given, wanted = given.casefold(), wanted.casefold()
    passed = given.startswith(wanted)
    return check_result("starts_with", passed, "begins so" if passed else f"begins with {shortened(answer, 40)}")


class RegexParameters(Parameters):
    """A pattern in RE2's syntax: linear time whatever the answer, hence no back-references."""

    pattern: str
    mode: Literal["search", "fullmatch"] = "search"
    ignore_case: bool = False

    def compiled(self) -> re2._Regexp:
        options = re2.Options()
        options.log_errors = False
        options.case_sensitive = not self.ignore_case
        return re2.compile(self.pattern, options)


def pattern_problem(parameters: RegexParameters, folder: Path | None = None) -> str | None:
    """Why the pattern cannot be used, if it cannot."""
    try:
        parameters.compiled()
    except re2.error as error:
        return f"the pattern {shortened(parameters.pattern)!r} cannot be compiled: {shortened(error)}"
    return None


def score_regex(parameters: RegexParameters, answer: str, context: Context) -> CheckResult:
    if problem := pattern_problem(parameters):
        raise ValueError(problem)  # neither a match nor none
    pattern = parameters.compiled()
    text = answer.encode("utf-8", "replace").decode()
    found = pattern.fullmatch(text.strip()) if parameters.mode == "fullmatch" else pattern.search(text)
    return check_result("regex", found is not None, "matches" if found else "no match")


SCORERS = (
    Scorer("keywords", KeywordsParameters, score_keywords),
    Scorer("exact", ExactParameters, score_exact),
    Scorer("contains", ContainsParameters, score_contains),
    Scorer("starts_with", StartsWithParameters, score_starts_with),
    Scorer("regex", RegexParameters, score_regex, pattern_problem),
)
