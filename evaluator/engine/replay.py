"""The previous checkpoint's answers as drafts: a step verifies several tokens of a case for little more than one.

Consecutive checkpoints often answer alike. While an answer agrees with the previous one, the tokens that followed there
are drafted; after a difference, what followed the same few tokens. An answer that repeats itself, as early checkpoints
do until the limit is reached, is drafted from itself. Verification chooses as plain decoding would, so the answers are
the same; only the number of steps changes. How many tokens are drafted follows from what steps cost here, as measured,
and from how often drafts were right: where a draft does not pay, none is made.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["agrees", "resumes", "repeats"]  # where a draft comes from; each kind is right at a rate of its own

LONGEST = 15  # drafted tokens of a case in one step: with its own token a band of 16
_SIZES = (4, 3, 2)  # tokens that must agree before what followed them is drafted
_REPEATED = 8  # tokens that must occur again before an answer is thought to repeat itself
_LEAST_OBSERVED = 12  # steps before costs are believed
_FADE = 0.98  # weight of a step's cost, one step later
_MARGIN = 1.05  # a draft must pay this much more than it costs


class StepCosts:
    """What a step costs: ``fixed`` + ``each`` x tokens seconds, from a fading least squares over observed steps."""

    def __init__(self) -> None:
        self._weight = self._x = self._y = self._xx = self._xy = 0.0
        self._observed = 0

    def observe(self, tokens: int, seconds: float) -> None:
        fade = _FADE
        self._weight = self._weight * fade + 1
        self._x = self._x * fade + tokens
        self._y = self._y * fade + seconds
        self._xx = self._xx * fade + tokens * tokens
        self._xy = self._xy * fade + tokens * seconds
        self._observed += 1

    def estimate(self) -> tuple[float, float] | None:
        """(fixed, each) in seconds, or None while too little is known."""
        spread = self._weight * self._xx - self._x * self._x
        if self._observed < _LEAST_OBSERVED or spread <= 1e-9 * self._weight * self._xx:
            return None
        each = (self._weight * self._xy - self._x * self._y) / spread
        fixed = (self._y - each * self._x) / self._weight
        return (fixed, each) if fixed > 0 and each > 0 else None


@dataclass
class Acceptance:
    """How often a drafted token of one kind was right, fading; begins with a guess worth a few tokens."""

    right: float
    wrong: float

    def observe(self, right: int, wrong: int) -> None:
        self.right = self.right * _FADE + right
        self.wrong = self.wrong * _FADE + wrong

    @property
    def rate(self) -> float:
        return self.right / (self.right + self.wrong)


@dataclass
class Source:
    """Where one case's drafts come from: what followed the same tokens in the previous answer, or in this one."""

    previous: Sequence[int] = ()
    _followed: dict[tuple[int, ...], int] = field(default_factory=dict)
    _own: dict[tuple[int, ...], int] = field(default_factory=dict)
    _indexed: int = _REPEATED

    def __post_init__(self) -> None:
        for size in _SIZES:
            for at in range(len(self.previous) - size):
                self._followed[tuple(self.previous[at : at + size])] = at + size

    def continuation(self, answer: Sequence[int]) -> tuple[Sequence[int], Kind]:
        """Tokens that may come next, and why they may. ``answer`` is the one given before, with more tokens."""
        if self.previous and list(answer) == list(self.previous[: len(answer)]):
            return self.previous[len(answer) : len(answer) + LONGEST], "agrees"
        if again := self._repetition(answer):
            return again, "repeats"
        for size in _SIZES:
            at = self._followed.get(tuple(answer[-size:])) if len(answer) >= size else None
            if at is not None:
                return self.previous[at : at + LONGEST], "resumes"
        return (), "resumes"

    def _repetition(self, answer: Sequence[int]) -> Sequence[int]:
        """What followed when this answer last said the same, over and over."""
        for at in range(self._indexed, len(answer)):
            self._own[tuple(answer[at - _REPEATED : at])] = at
        self._indexed = max(self._indexed, len(answer))
        last = self._own.get(tuple(answer[-_REPEATED:]))
        if last is None:
            return ()
        period = len(answer) - last
        return [answer[last + number % period] for number in range(LONGEST)]


def draft_lengths(rates: Sequence[float], fixed: float, each: float) -> list[int]:
    """How many tokens to draft for each live case, from the rate at which its drafts are right. Pure.

    A step makes one token a case for ``fixed`` + ``each`` x cases seconds. The k-th drafted token is kept with
    probability rate^k and costs ``each``; it pays while that is more than a token costs on average.
    """
    live = len(rates)
    made, seconds = float(live), fixed + each * live
    lengths = [0] * live
    for _ in range(2):  # the average falls as drafts are added; twice comes near the fixed point
        threshold = min(1.0, _MARGIN * each * made / seconds)
        lengths = [_longest(rate, threshold) for rate in rates]
        made = live + sum(_expected(rate, length) for rate, length in zip(rates, lengths, strict=True))
        seconds = fixed + each * (live + sum(lengths))
    return lengths


def _longest(rate: float, threshold: float) -> int:
    if rate <= threshold:
        return 0
    return min(LONGEST, int(math.log(threshold) / math.log(rate))) if rate < 1 else LONGEST


def _expected(rate: float, length: int) -> float:
    return length * 1.0 if rate >= 1 else rate * (1 - rate**length) / (1 - rate)


class Replay:
    """What one engine knows about drafts, kept from one checkpoint to the next."""

    def __init__(self) -> None:
        self.costs = StepCosts()
        self._rates: dict[Kind, Acceptance] = {
            "agrees": Acceptance(6, 4), "resumes": Acceptance(3, 7), "repeats": Acceptance(6, 4)
        }  # fmt: skip
        self._answers: dict[tuple[str, int, tuple[int, ...]], tuple[int, ...]] = {}

    def remember(self, case_id: str, sample: int, prompt: tuple[int, ...], answer: Sequence[int]) -> None:
        self._answers[case_id, sample, prompt] = tuple(answer)

    def source(self, case_id: str, sample: int, prompt: tuple[int, ...]) -> Source:
        """Drafts for a case: from the previous checkpoint's answer to the same prompt, or from the answer itself."""
        return Source(self._answers.get((case_id, sample, prompt), ()))

    def drafts(self, cases: Sequence[tuple[Source | None, Sequence[int], int]]) -> list[tuple[Sequence[int], Kind]]:
        """For each live case (source, answer so far, most tokens): its draft, and of which kind it is."""
        costs = self.costs.estimate()
        nothing: tuple[Sequence[int], Kind] = ((), "resumes")
        found = [source.continuation(answer) if source and answer else nothing for source, answer, _ in cases]
        if costs is None:
            return [((), kind) for _, kind in found]
        rates = [self._rates[kind].rate if tokens else 0.0 for tokens, kind in found]
        lengths = draft_lengths(rates, *costs)
        return [
            (tokens[: max(0, min(length, most))], kind)
            for (tokens, kind), length, (_, _, most) in zip(found, lengths, cases, strict=True)
        ]

    def learn(self, outcomes: Iterable[tuple[Kind, int, int]]) -> None:
        """Outcomes of verified drafts: (kind, drafted, right). Tokens after the first wrong one say nothing."""
        for kind, drafted, right in outcomes:
            if drafted:
                self._rates[kind].observe(right, int(right < drafted))
