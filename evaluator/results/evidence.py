"""What a report says about differences: verdicts, and the numbers behind them (docs/verdicts.md: what they promise)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sidestep.evaluator.results.document import Document
from sidestep.evaluator.statistics import Interval


class VerdictWord(StrEnum):
    """The verdict of a comparison, in words."""

    BETTER = "better"
    WORSE = "worse"
    UNDECIDED = "no difference that this suite can show"


@dataclass(frozen=True, kw_only=True)
class Family(Document):
    """Which of many comparisons this one is: the error rate is shared among all of them."""

    number: int = 1
    """This is the n-th comparison of its kind in this training; 0: a single comparison that somebody asked for."""
    candidates: int = 1
    """Among how many earlier checkpoints the one compared with was chosen (for being the best)."""


@dataclass(frozen=True, kw_only=True)
class VerdictEntry(Document):
    """Whether the difference in passed cases is more than chance and noise, and what it would take to say so."""

    word: VerdictWord
    sentence: str = ""
    difference: float = 0.0
    """Success rate after minus before, over the compared cases; by weight where weights differ."""
    interval: Interval | None = None
    """Of the difference, for this comparison by itself."""
    p_value: float = 1.0
    """Two-sided, of this comparison by itself."""
    adjusted_p_value: float = 1.0
    """With its share of the error rate taken into account: the word follows from this being at most ``error_rate``."""
    test: str = ""
    """``exact McNemar``, or ``sign-flip permutation`` where weights differ."""
    error_rate: float = 0.05
    """Largest chance that a training without any true difference gets a ``better`` or ``worse`` of this kind at all."""
    family: Family = Family()
    expected_noise_flips: float | None = None
    """Flips to be expected from noise alone over the compared cases; null where nobody measured the noise."""
    flips_needed: int = 0
    """With fewer flips than this, even all in one direction, no difference can be shown here."""
    cases_needed: int | None = None
    """Cases with which the observed difference would be shown four times in five; null when it is shown, or is none."""
    basis: str = ""
    """Hash of everything that the verdict follows from; same basis, same verdict."""


@dataclass(frozen=True, kw_only=True)
class LlmJudgeEntry(Document):
    """A language model as judge: how much it decided, and how far it agrees with the scorers that are rules.

    Compared are the cases that both decided.
    """

    judge: str
    judged: int
    """Cases that the judge graded."""
    undecided: int
    """Cases for which the judge could not be asked, or did not reply with a grade."""
    compared: int = 0
    agreed: int = 0
    agreement: float | None = None
    """agreed / compared."""
    kappa: float | None = None
    """Cohen's: agreement beyond chance, at most 1; null where a side always says the same, or nothing is compared."""


@dataclass(frozen=True, kw_only=True)
class MeasureEntry(Document):
    """The same question for a measure with more values than passed and failed: the mean change over the cases."""

    word: VerdictWord
    difference: float
    interval: Interval | None
    """Paired bootstrap, for this comparison by itself."""
    p_value: float
    adjusted_p_value: float
    cases: int


@dataclass(frozen=True, kw_only=True)
class CategoryChange(Document):
    """One category inside a comparison. ``adjusted_p_value`` is Hochberg's over the categories of the comparison."""

    word: VerdictWord
    compared_cases: int
    rate_before: float
    rate_after: float
    broken: int
    fixed: int
    p_value: float
    adjusted_p_value: float
