"""How evidence and verdicts stand in a report (docs/verdicts.md says what they mean and what they promise)."""

from __future__ import annotations

from enum import StrEnum

from sidestep.evaluator.results.document import Document


class Word(StrEnum):
    """The verdict of a comparison, in words."""

    BETTER = "better"
    WORSE = "worse"
    UNDECIDED = "no difference that this suite can show"


class Interval(Document):
    """Where the true value lies, with the given confidence. Rates are 0..1."""

    low: float
    high: float
    confidence: float = 0.95


class WeightedRate(Document):
    """The success rate with each case counted by its weight; present only where weights differ."""

    rate: float
    interval: Interval
    effective_cases: float
    """How many cases of equal weight would give as much information (Kish)."""


class Family(Document):
    """Which of many comparisons this one is: the error rate is shared among all of them."""

    number: int = 1
    """This is the n-th comparison of its kind in this training; 0: a single comparison that somebody asked for."""
    candidates: int = 1
    """Among how many earlier checkpoints the one compared with was chosen (for being the best)."""


class VerdictEntry(Document):
    """Whether the difference in passed cases is more than chance and noise, and what it would take to say so."""

    word: Word
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


class JudgeEntry(Document):
    """A language model as judge: how much it decided, and how far it agrees with the scorers that are rules.

    Compared are the cases on which both have a verdict.
    """

    judge: str
    judged: int
    """Cases with a verdict of the judge."""
    undecided: int
    """Cases for which the judge could not be asked, or did not reply with a verdict."""
    compared: int = 0
    agreed: int = 0
    agreement: float | None = None
    """agreed / compared."""
    kappa: float | None = None
    """Cohen's: agreement beyond chance, at most 1; null where a side always says the same, or nothing is compared."""


class MeasureEntry(Document):
    """The same question for a measure with more values than passed and failed: the mean change over the cases."""

    word: Word
    difference: float
    interval: Interval | None
    """Paired bootstrap, for this comparison by itself."""
    p_value: float
    adjusted_p_value: float
    cases: int


class CategoryChange(Document):
    """One category inside a comparison. ``adjusted_p_value`` is Holm's over the categories of the comparison."""

    word: Word
    compared_cases: int
    rate_before: float
    rate_after: float
    broken: int
    fixed: int
    p_value: float
    adjusted_p_value: float
