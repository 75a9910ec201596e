"""What became of a case and an evaluation: the values that cross the evaluator's layers, as reports hold them, too.

Their fields are the keys of ``report.json`` (docs/reports.md): defaults are for reports of times when a key was not
there yet, and a key that is renamed or removed needs a new schema version.
"""

from __future__ import annotations

from dataclasses import dataclass
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
    """One of several sampled answers to a case. ``passed`` is null when nothing in the case can be decided."""

    output: str
    passed: bool | None
    score: float | None


@dataclass(frozen=True, kw_only=True)
class CaseResult:
    """One answered and scored case. ``score`` is 0..10, the mean of its checks; null when unscored.

    ``definition_hash`` names what was asked and expected; the host's old reports do not have it. ``seconds`` are from
    the case entering the engine to its last token, shared with the rest of the batch. ``reference_logprob`` is the mean
    natural log-probability per token of the reference answer. ``samples`` are further answers when several are drawn;
    the first one is ``output``.
    """

    id: str
    name: str
    status: CaseStatus
    score: float | None
    output: str
    expected_keywords: tuple[str, ...] = ()
    keywords_found: tuple[str, ...] = ()
    category: str = ""
    checks: tuple[CheckResult, ...] = ()
    definition_hash: str = ""
    failure_reason: str | None = None
    weight: float = 1.0
    prompt_tokens: int = 0
    output_tokens: int = 0
    finish_reason: str = ""  # stop | length
    seconds: float = 0.0
    reference_logprob: float | None = None
    samples: tuple[SampleResult, ...] = ()


@dataclass(frozen=True)
class Slowdown:
    """What training beside the evaluator lost: 0.02 is 2 % slower steps; null where no training was seen.

    ``low`` and ``high`` bound the slowdown with 95 % confidence. The counts are of training steps: those beside the
    evaluator at work, and those alone, that were compared.
    """

    slowdown: float | None = None
    low: float | None = None
    high: float | None = None
    steps_beside: int = 0
    steps_alone: int = 0


@dataclass(frozen=True, kw_only=True)
class Sharing(Slowdown):
    """What this evaluation cost the training beside it, what the run so far did, and how long the evaluator rested."""

    run: Slowdown = Slowdown()
    rested_seconds: float = 0.0


@dataclass(frozen=True)
class NoiseFloor:
    """How often a checkpoint's results differ from its own under another batch layout.

    ``flip_rate`` is 0 where answers are bit-identical in every layout, a measured share of ``cases`` where they are
    not, and null where it has not been measured.
    """

    flip_rate: float | None = None
    cases: int = 0
    how: str = ""
