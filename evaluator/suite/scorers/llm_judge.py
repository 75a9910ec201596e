"""A language model as judge, for what no rule decides: opt-in, remembered on disk, and never trusted with silence.

There is a judge only where the environment names one. Its reply is a grade only when it is exactly the JSON that was
asked for; anything else, and an endpoint that does not answer, leaves the check undecided: neither passed nor failed.
The graded answer is untrusted input: it is sent as a JSON string, from which it cannot break out. That does not make a
model immune to what it reads, which is why a report says how far judge and other scorers agree.
"""

from __future__ import annotations

import hashlib
import os
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, ValidationError

from sidestep.evaluator.cases.case import LLM_JUDGE
from sidestep.evaluator.cases.result import TOP_SCORE, CheckResult
from sidestep.evaluator.suite.scorers.base import Context, Parameters, Scorer, check_result, shortened, undecided
from sidestep.evaluator.suite.scorers.llm_grade import Grade, NoGrade, build_request
from sidestep.evaluator.suite.scorers.llm_settings import JudgeSettings, read_judge_settings
from sidestep.shared.errors import SuiteError
from sidestep.shared.files import read_bounded, replace_file, to_json_line
from sidestep.shared.logs import get_logger

if TYPE_CHECKING:
    from sidestep.evaluator.suite.scorers.llm_endpoint import JudgeEndpoint

CACHE_VARIABLE = "SIDESTEP_JUDGE_CACHE"
MAX_CACHED_BYTES = 1 << 20

log = get_logger("evaluator.judge")


class JudgeParameters(Parameters):
    """What the answer must satisfy, in words. With ``threshold``, the judge's score must reach it as well."""

    rubric: str = Field(min_length=1)
    threshold: float | None = Field(default=None, ge=0.0, le=1.0)
    judged_by: str = ""  # filled in when the suite is loaded: another judge makes another suite


def score_with_judge(parameters: JudgeParameters, answer: str, context: Context) -> CheckResult:
    try:
        settings = read_judge_settings()
    except SuiteError as error:
        return undecided(LLM_JUDGE, error.message)
    messages = [{"role": message.role, "content": message.content} for message in context.messages]
    question = {"rubric": parameters.rubric, "conversation": messages, "answer": answer}
    try:
        grade = grade_with_llm(settings, question)
        if parameters.threshold is not None and grade.score is None:
            raise NoGrade("it gave no score to hold against the threshold")
    except NoGrade as error:
        return undecided(LLM_JUDGE, shortened(f"{settings.model} gave no grade: {error}", 240))
    reached = parameters.threshold is None or (grade.score is not None and grade.score >= parameters.threshold)
    score = None if grade.score is None else TOP_SCORE * grade.score
    detail = shortened(f"{settings.model}: {grade.reason}", 240)
    return check_result(LLM_JUDGE, grade.passed and reached, detail, score)


def grade_with_llm(settings: JudgeSettings, question: dict[str, Any]) -> Grade:
    """The grade for a question; asked for once, and read from the disk from then on. Raises NoGrade."""
    body = build_request(settings.model, question)
    name = hashlib.sha256(f"{settings.url}\0".encode() + body).hexdigest()
    folder = cache_folder()
    if folder and (known := _read_grade(folder / f"{name}.json")):
        return known
    grade = _endpoint(settings).ask(body)
    if folder:
        _keep_grade(folder / f"{name}.json", grade)
    return grade


def cache_folder() -> Path | None:
    """Where grades are kept: SIDESTEP_JUDGE_CACHE, or the user's cache; None where there is no home."""
    if named := os.environ.get(CACHE_VARIABLE):
        return Path(named)
    try:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:
        return None
    return base / "sidestep" / "judge"


def _read_grade(path: Path) -> Grade | None:
    try:
        return Grade.model_validate_json(read_bounded(path, MAX_CACHED_BYTES))
    except (OSError, ValidationError):
        return None


def _keep_grade(path: Path, grade: Grade) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        replace_file(path, to_json_line(grade.model_dump(by_alias=True)), mode=0o600)
    except OSError as error:
        _warn_once(f"the judge's grades cannot be kept in {path.parent}: {error}")


@lru_cache(maxsize=8)
def _warn_once(text: str) -> None:
    log.warning("%s", text)


@lru_cache(maxsize=2)
def _endpoint(settings: JudgeSettings) -> JudgeEndpoint:
    """One connection for each process; the HTTP client is loaded when the first grade is needed."""
    from sidestep.evaluator.suite.scorers.llm_endpoint import JudgeEndpoint

    return JudgeEndpoint(settings)


SCORERS = (Scorer(LLM_JUDGE, JudgeParameters, score_with_judge),)
