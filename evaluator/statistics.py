"""The statistics behind verdicts, from SciPy and statsmodels. Pure functions of numbers.

Both libraries take a second and 100 MB to load, so they are imported where they are used: an evaluator that only
waits for checkpoints never loads them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

CONFIDENCE = 0.95
ERROR_RATE = 0.05
POWER = 0.8
HALF_SPENT_AFTER = 10  # comparisons after which half of the error rate has been spent
RESAMPLES = 9_999  # sign flips: beyond 13 of them the smallest p-value is 1 / 5,000
BOOTSTRAP_RESAMPLES = 1_999
SEED = 20_250_101  # any fixed number: the same reports must give the same verdict
_PERMUTED_AT_MOST = 200
_BCA_AT_MOST = 2_000  # the bootstrap's correction needs a matrix of cases x cases
_EXACT_FLIPS_AT_MOST = 2_000


@dataclass(frozen=True)
class Interval:
    """Where the true value lies, with the given confidence. Rates are 0..1."""

    low: float
    high: float
    confidence: float = CONFIDENCE


def wilson(passed: float, decided: float) -> Interval:
    """Wilson's interval of a success rate; everything when nothing was decided.

    Fractions of cases are allowed: with weights, ``decided`` is the effective number of cases.
    """
    if decided <= 0:
        return Interval(0.0, 1.0)
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(passed, decided, alpha=1 - CONFIDENCE, method="wilson")
    return Interval(max(0.0, float(low)), min(1.0, float(high)))


def effective_cases(weights: Sequence[float]) -> float:
    """Kish's effective sample size: how many cases of equal weight carry as much information."""
    squares = math.fsum(weight * weight for weight in weights)
    return math.fsum(weights) ** 2 / squares if squares else 0.0


@lru_cache(maxsize=4096)
def mcnemar_p(broken: int, fixed: int) -> float:
    """Two-sided exact McNemar test: could as uneven a split of the flips be chance?"""
    if broken + fixed == 0:
        return 1.0
    from statsmodels.stats.contingency_tables import mcnemar

    return min(1.0, float(mcnemar([[0, broken], [fixed, 0]], exact=True).pvalue))


def sign_flip_p(differences: Sequence[float]) -> float:
    """Two-sided permutation test of paired differences: under no difference, every sign could be the other one.

    Exact up to 13 differences that are not zero; with differences of equal size it is the exact McNemar test. With more
    than 200 it is Student's paired test, which by then says the same and takes no time.
    """
    moved = [difference for difference in differences if difference]
    if len(moved) < 2:
        return 1.0
    import numpy
    from scipy.stats import permutation_test, ttest_1samp

    if len(moved) > _PERMUTED_AT_MOST:
        return float(ttest_1samp(differences, 0.0).pvalue)

    done = permutation_test(
        (numpy.asarray(moved),),
        lambda sample, axis: sample.sum(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=RESAMPLES,
        rng=numpy.random.default_rng(SEED),
    )
    return min(1.0, float(done.pvalue))


def bootstrap_mean(differences: Sequence[float], weights: Sequence[float]) -> Interval | None:
    """Paired bootstrap interval of a (weighted) mean change: cases are drawn, each with both of its values.

    Bias-corrected and accelerated up to 2,000 cases, percentile above. None when a single case says nothing.
    """
    if len(differences) < 2:
        return None
    if len(set(differences)) == 1:
        return Interval(differences[0], differences[0])
    import numpy
    from scipy.stats import bootstrap

    done = bootstrap(
        (numpy.asarray(differences), numpy.asarray(weights)),
        lambda values, share, axis: (values * share).sum(axis=axis) / share.sum(axis=axis),
        paired=True,
        vectorized=True,
        confidence_level=CONFIDENCE,
        n_resamples=BOOTSTRAP_RESAMPLES,
        batch=max(1, 2_000_000 // len(differences)),
        method="BCa" if len(differences) <= _BCA_AT_MOST else "percentile",
        rng=numpy.random.default_rng(SEED),
    ).confidence_interval
    if math.isnan(done.low) or math.isnan(done.high):
        return None
    return Interval(float(done.low), float(done.high))


def paired_difference(broken: float, fixed: float, cases: float) -> Interval:
    """Interval of the difference between two success rates over the same cases: Bonett and Price's adjusted Wald.

    No library has one for paired rates. Bonett & Price, J. Educ. Behav. Stat. 37 (2012) 479-488; it is among those that
    Fagerland, Lydersen & Laake, Stat. Med. 33 (2014) 2850-2875 recommend. Unlike a bootstrap it has a width without
    any flip.
    """
    from scipy.stats import norm

    down, up = (broken + 1) / (cases + 2), (fixed + 1) / (cases + 2)
    spread = float(norm.isf((1 - CONFIDENCE) / 2)) * math.sqrt((down + up - (up - down) ** 2) / (cases + 2))
    return Interval(max(-1.0, up - down - spread), min(1.0, up - down + spread))


def share_of_error_rate(number: int) -> float:
    """What the ``number``-th comparison (from 1) may use of the error rate: all of them together never more than 1.

    h / ((n + h - 1)(n + h)) with h = 10: half of it is spent after ten comparisons, and all of it never, so that
    nobody has to know how many checkpoints will come. 0 stands for a single comparison, which may use everything.
    """
    if number == 0:
        return 1.0
    return HALF_SPENT_AFTER / ((number + HALF_SPENT_AFTER - 1) * (number + HALF_SPENT_AFTER))


def hochberg(p_values: Sequence[float]) -> list[float]:
    """Hochberg's adjusted p-values of independent tests: the chance of any false claim stays at the error rate."""
    if len(p_values) < 2:
        return list(p_values)
    from statsmodels.stats.multitest import multipletests

    return [float(p_value) for p_value in multipletests(p_values, method="simes-hochberg")[1]]


def noise_p(flips: int, cases: int, flip_rate: float) -> float:
    """Chance of at least so many flips in one direction when each case flips by noise alone, all in that direction."""
    if flips == 0 or flip_rate >= 1:
        return 1.0
    if flip_rate <= 0:
        return 0.0
    from scipy.stats import binomtest

    return float(binomtest(flips, cases, flip_rate, alternative="greater").pvalue)


def flip_rate_bound(flip_rate: float, cases: int) -> float:
    """The upper end of a measured noise rate. Zero stays zero: it is given only where answers are bit-identical."""
    return wilson(flip_rate * cases, cases).high if flip_rate > 0 and cases > 0 else flip_rate


def flips_needed(threshold: float) -> int:
    """The fewest flips, all in one direction, whose exact p-value is at most ``threshold``."""
    return max(1, math.ceil(1 - math.log2(threshold)))


def cases_needed(broken: int, fixed: int, cases: int, threshold: float) -> int | None:
    """With how many cases the observed shares of flips would be shown with 80 % power; None without a difference.

    The test sees only the flips, so the power of the exact binomial test on them decides how many flips it takes, and
    their share of all cases decides how many cases that is.
    """
    if broken == fixed or cases == 0:
        return None
    share = max(broken, fixed) / (broken + fixed)
    return math.ceil(_flips_with_power(share, threshold) * cases / (broken + fixed))


@lru_cache(maxsize=4096)
def _flips_with_power(share: float, threshold: float) -> int:
    import numpy
    from scipy.stats import binom
    from statsmodels.stats.power import normal_sample_size_one_tail
    from statsmodels.stats.proportion import proportion_effectsize

    rough = float(normal_sample_size_one_tail(proportion_effectsize(share, 0.5), POWER, threshold / 2))
    if rough > _EXACT_FLIPS_AT_MOST:
        return math.ceil(rough)
    flips = numpy.arange(flips_needed(threshold), math.ceil(1.5 * rough) + 100)
    critical = binom.isf(threshold / 2, flips, 0.5) + 1
    enough = binom.sf(critical - 1, flips, share) >= POWER
    return int(flips[int(numpy.argmax(enough))])


def trend_p(values: Sequence[float]) -> tuple[float, float]:
    """Kendall's tau of the values against their order, and its two-sided p-value."""
    if len(values) < 2 or len(set(values)) == 1:
        return 0.0, 1.0
    from scipy.stats import kendalltau

    done = kendalltau(range(len(values)), values)
    return float(done.statistic), float(done.pvalue)
