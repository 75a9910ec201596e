"""The previous checkpoint's answers as drafts: a step verifies several tokens of a case for little more than one.

Consecutive checkpoints often answer alike. While an answer agrees with the previous one, the tokens that followed there
are drafted; after a difference, what followed the same few tokens. An answer that repeats itself, as early checkpoints
do until the limit is reached, is drafted from itself. Verification chooses as plain decoding would, so the answers are
the same; only the number of steps changes (speculative decoding, arXiv 2211.17192, with drafts that cost nothing). How
many tokens are drafted follows from what steps cost here, as measured, and from how often drafts were right: where a
draft does not pay, none is made.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

# Where a draft comes from; every kind is right at a rate of its own.
DraftKind = Literal["agrees", "resumes", "repeats"]

MAX_DRAFT = 15  # drafted tokens of a case in one step: with its own token a band of 16
_MATCH_LENGTHS = (4, 3, 2)  # tokens that must agree before what followed them is drafted
_REPEATED_TOKENS = 8  # tokens that must occur again before an answer is thought to repeat itself
_MIN_OBSERVED = 12  # steps before costs are believed
_DECAY = 0.98  # weight of a step's cost, one step later
_MARGIN = 1.05  # a draft must pay this much more than it costs


class StepCosts:
    """What a step costs: ``fixed`` + ``per_token`` x tokens seconds, by least squares over observed steps, in which
    older steps count less and less."""

    def __init__(self) -> None:
        self._weight = self._x = self._y = self._xx = self._xy = 0.0
        self._observed = 0

    def observe(self, tokens: int, seconds: float) -> None:
        """Count one step that took ``tokens`` tokens."""
        self._weight = self._weight * _DECAY + 1
        self._x = self._x * _DECAY + tokens
        self._y = self._y * _DECAY + seconds
        self._xx = self._xx * _DECAY + tokens * tokens
        self._xy = self._xy * _DECAY + tokens * seconds
        self._observed += 1

    def estimate(self) -> tuple[float, float] | None:
        """(fixed, per token) in seconds, or None while too little is known."""
        spread = self._weight * self._xx - self._x * self._x
        if self._observed < _MIN_OBSERVED or spread <= 1e-9 * self._weight * self._xx:
            return None
        per_token = (self._weight * self._xy - self._x * self._y) / spread
        fixed = (self._y - per_token * self._x) / self._weight
        return (fixed, per_token) if fixed > 0 and per_token > 0 else None


@dataclass
class Acceptance:
    """How often a drafted token of one kind was right, of late; begins with a guess worth a few tokens."""

    right: float
    wrong: float

    def observe(self, right: int, wrong: int) -> None:
        """Count the tokens of one draft."""
        self.right = self.right * _DECAY + right
        self.wrong = self.wrong * _DECAY + wrong

    @property
    def rate(self) -> float:
        """Share of right tokens, 0 to 1."""
        return self.right / (self.right + self.wrong)


@dataclass
class DraftSource:
    """Where one case's drafts come from: what followed the same tokens in the previous answer, or in this one."""

    previous: Sequence[int] = ()
    _followed: dict[tuple[int, ...], int] = field(default_factory=dict)
    _own: dict[tuple[int, ...], int] = field(default_factory=dict)
    _indexed: int = _REPEATED_TOKENS

    def __post_init__(self) -> None:
        for size in _MATCH_LENGTHS:
            for at in range(len(self.previous) - size):
                self._followed[tuple(self.previous[at : at + size])] = at + size

    def continuation(self, answer: Sequence[int]) -> tuple[Sequence[int], DraftKind]:
        """Tokens that may come next, at most MAX_DRAFT, and why they may.

        ``answer`` must be what the last call got, with more tokens: what it repeats is indexed from call to call.
        """
        if self.previous and list(answer) == list(self.previous[: len(answer)]):
            return self.previous[len(answer) : len(answer) + MAX_DRAFT], "agrees"
        if again := self._repetition(answer):
            return again, "repeats"
        for size in _MATCH_LENGTHS:
            at = self._followed.get(tuple(answer[-size:])) if len(answer) >= size else None
            if at is not None:
                return self.previous[at : at + MAX_DRAFT], "resumes"
        return (), "resumes"

    def _repetition(self, answer: Sequence[int]) -> Sequence[int]:
        """What followed when this answer last had the same tokens, over and over; nothing where it never had."""
        for at in range(self._indexed, len(answer)):
            self._own[tuple(answer[at - _REPEATED_TOKENS : at])] = at
        self._indexed = max(self._indexed, len(answer))
        last = self._own.get(tuple(answer[-_REPEATED_TOKENS:]))
        if last is None:
            return ()
        period = len(answer) - last
        return [answer[last + number % period] for number in range(MAX_DRAFT)]


def draft_lengths(rates: Sequence[float], fixed: float, per_token: float) -> list[int]:
    """How many tokens to draft for every live case, from the rates at which their drafts are right. Pure.

    A step makes one token per case for ``fixed`` + ``per_token`` x cases seconds. The k-th drafted token is kept with
    probability rate^k and costs ``per_token``; it pays while that is more than a token costs on average.
    """
    live = len(rates)
    made, seconds = float(live), fixed + per_token * live
    lengths = [0] * live
    for _ in range(2):  # the average falls as drafts are added; twice comes near the fixed point
        threshold = min(1.0, _MARGIN * per_token * made / seconds)
        lengths = [_paying_length(rate, threshold) for rate in rates]
        made = live + sum(_expected_tokens(rate, length) for rate, length in zip(rates, lengths, strict=True))
        seconds = fixed + per_token * (live + sum(lengths))
    return lengths


def _paying_length(rate: float, threshold: float) -> int:
    if rate <= threshold:
        return 0
    return min(MAX_DRAFT, int(math.log(threshold) / math.log(rate))) if rate < 1 else MAX_DRAFT


def _expected_tokens(rate: float, length: int) -> float:
    return length * 1.0 if rate >= 1 else rate * (1 - rate**length) / (1 - rate)


class Replay:
    """What one engine knows about drafts, kept from one checkpoint to the next."""

    def __init__(self) -> None:
        self.costs = StepCosts()
        self._rates: dict[DraftKind, Acceptance] = {
            "agrees": Acceptance(6, 4), "resumes": Acceptance(3, 7), "repeats": Acceptance(6, 4)
        }  # fmt: skip
        self._answers: dict[tuple[str, int, tuple[int, ...]], tuple[int, ...]] = {}

    def remember(self, case_id: str, sample: int, prompt: tuple[int, ...], answer: Sequence[int]) -> None:
        """Keep an answer as the draft for the next checkpoint's answer to the same prompt."""
        self._answers[case_id, sample, prompt] = tuple(answer)

    def source(self, case_id: str, sample: int, prompt: tuple[int, ...]) -> DraftSource:
        """Drafts for a case: from the previous checkpoint's answer to the same prompt, or from the answer itself."""
        return DraftSource(self._answers.get((case_id, sample, prompt), ()))

    def drafts(
        self, cases: Sequence[tuple[DraftSource | None, Sequence[int], int]]
    ) -> list[tuple[Sequence[int], DraftKind]]:
        """The draft of every live case (source, answer so far, most tokens), and of which kind it is."""
        costs = self.costs.estimate()
        nothing: tuple[Sequence[int], DraftKind] = ((), "resumes")
        found = [source.continuation(answer) if source and answer else nothing for source, answer, _ in cases]
        if costs is None:
            return [((), kind) for _, kind in found]
        rates = [self._rates[kind].rate if tokens else 0.0 for tokens, kind in found]
        lengths = draft_lengths(rates, *costs)
        return [
            (tokens[: max(0, min(length, most))], kind)
            for (tokens, kind), length, (_, _, most) in zip(found, lengths, cases, strict=True)
        ]

    def learn(self, outcomes: Iterable[tuple[DraftKind, int, int]]) -> None:
        """Count outcomes of verified drafts: (kind, tokens drafted, tokens right). Those after the first wrong one say
        nothing."""
        for kind, drafted, right in outcomes:
            if drafted:
                self._rates[kind].observe(right, int(right < drafted))
