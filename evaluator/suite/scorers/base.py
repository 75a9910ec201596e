"""What a scorer is, and how an answer's payload is found in what a model wrote."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from sidestep.evaluator.cases.case import Message
from sidestep.evaluator.cases.result import TOP_SCORE, CheckResult

MAX_ANSWER_CHARACTERS = 1 << 20  # what is longer is cut before scoring

_FENCE = re.compile(r"```[^\n`]*\n(.*?)```", re.DOTALL)


class Parameters(BaseModel):
    """Base of a scorer's parameters: unknown ones are refused when the suite is loaded.

    ``negate`` inverts the check: it passes when the scorer says no.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    negate: bool = False


P = TypeVar("P", bound=Parameters)


@dataclass(frozen=True)
class Context:
    """What a scorer may read besides the answer: files below the suite's folder, and the conversation before it."""

    folder: Path
    messages: tuple[Message, ...] = ()


def no_problem(parameters: Parameters, folder: Path) -> str | None:
    """For scorers whose parameters can always be used once they are valid."""
    return None


@dataclass(frozen=True)
class Scorer(Generic[P]):
    """A named way to score an answer.

    ``problem`` says, when the suite is loaded, why a check could never pass (a pattern that does not compile); such a
    check fails, the rest of the suite goes on. ``files`` names parameters that are paths of fixtures beside the suite.
    """

    name: str
    parameters: type[P]
    score: Callable[[P, str, Context], CheckResult]
    problem: Callable[[P, Path], str | None] = no_problem
    files: tuple[str, ...] = ()


def check_result(scorer: str, passed: bool, detail: str, score: float | None = None) -> CheckResult:
    """All or nothing, unless ``score`` (0..10) says otherwise."""
    return CheckResult(scorer, passed, score if score is not None else (TOP_SCORE if passed else 0.0), detail)


def undecided(scorer: str, detail: str) -> CheckResult:
    """Neither passed nor failed: whoever had to say so could not be asked."""
    return CheckResult(scorer, False, None, detail)


def payload(answer: str) -> str:
    """The answer's content: its first fenced block where it has one, else all of it, without surrounding space."""
    fenced = _FENCE.search(answer)
    return (fenced.group(1) if fenced else answer).strip()


def shortened(value: object, limit: int = 120) -> str:
    """One line of at most ``limit`` characters, for details."""
    text = " ".join(str(value)[: 4 * limit].split())
    return text if len(text) <= limit else text[: limit - 1] + "…"
