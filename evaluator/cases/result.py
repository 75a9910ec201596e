"""What became of a case and an evaluation: the values that cross the evaluator's layers."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

PASS_SCORE = 8.0
TOP_SCORE = 10.0


class CaseStatus(StrEnum):
    """How a case ended. The last two are cases marked ``may_fail``; they never count in the success rate."""

    PASSED = "passed"
    FAILED = "failed"
    UNSCORED = "unscored"
    EXPECTED_FAILURE = "expected_failure"
    UNEXPECTED_PASS = "unexpected_pass"  # noqa: S105 - not a password


@dataclass(frozen=True)
class CheckResult:
    """What one scorer said about one answer: score 0..10, and why in one line. No score: it could not be decided."""

    scorer: str
    passed: bool
    score: float | None
    detail: str = ""


@dataclass(frozen=True)
class SampleResult:
    """One of several sampled answers to a case. ``passed`` is None when nothing in the case can be decided."""

    output: str
    passed: bool | None
    score: float | None


@dataclass(frozen=True)
class CaseResult:
    """One answered and scored case. ``score`` is 0..10, the mean of its checks; None when unscored."""

    id: str
    name: str
    category: str
    status: CaseStatus
    score: float | None
    output: str
    checks: tuple[CheckResult, ...] = ()
    expected_keywords: tuple[str, ...] = ()
    keywords_found: tuple[str, ...] = ()
    failure_reason: str | None = None
    weight: float = 1.0
    prompt_tokens: int = 0
    output_tokens: int = 0
    finish_reason: str = "stop"  # stop | length
    seconds: float = 0.0  # from this case entering the engine to its last token, shared with the rest of the batch
    reference_logprob: float | None = None  # mean natural log-probability per token of the reference answer
    samples: tuple[SampleResult, ...] = ()  # further answers when several are drawn; the first one is ``output``


@dataclass(frozen=True)
class Slowdown:
    """What training beside the evaluator lost: 0.02 is 2 % slower steps, with a 95 % interval; None where unknown.

    The counts are of training steps: those beside the evaluator at work, and those alone, that were compared.
    """

    slowdown: float | None = None
    low: float | None = None
    high: float | None = None
    steps_beside: int = 0
    steps_alone: int = 0


@dataclass(frozen=True)
class Sharing:
    """How an evaluation shared the machine with a training: its cost, that of the whole run, and how long it rested."""

    evaluation: Slowdown = field(default_factory=Slowdown)
    run: Slowdown = field(default_factory=Slowdown)
    rested_seconds: float = 0.0


@dataclass(frozen=True)
class NoiseFloor:
    """How often verdicts of a checkpoint differ from its own in another company of cases; None where unknown."""

    flip_rate: float | None = None
    cases: int = 0
    how: str = ""
