"""The statistics against published worked examples and exact enumeration: nothing is taken on trust."""

from __future__ import annotations

import itertools
import math
import random
import subprocess
import sys
from pathlib import Path

import pytest
from scipy.stats import binom, ttest_1samp

from sidestep.evaluator import statistics
from sidestep.evaluator.statistics import ERROR_RATE

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("passed", "decided", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),  # Newcombe, Stat. Med. 17 (1998) 857-872, table I, method 3 (score, no correction)
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_as_published(passed: int, decided: int, low: float, high: float) -> None:
    bounds = statistics.wilson(passed, decided)
    assert (bounds.low, bounds.high) == pytest.approx((low, high), abs=5e-5)


def test_wilson_of_nothing_says_nothing() -> None:
    assert statistics.wilson(0, 0) == statistics.Interval(0.0, 1.0)


def test_mcnemar_and_difference_as_published() -> None:
    """Airway hyper-responsiveness before and after transplantation: 1, 1, 7, 12 of 21 children.

    Fagerland, Lydersen & Laake, Stat. Med. 33 (2014) 2850-2875: exact p = 0.070; Bonett-Price -0.508 to -0.013.
    """
    assert statistics.mcnemar_p(1, 7) == pytest.approx(0.0703, abs=5e-5)
    bounds = statistics.paired_difference(7, 1, 21)
    assert (bounds.low, bounds.high) == pytest.approx((-0.508, -0.0135), abs=1e-3)


@pytest.mark.parametrize(("broken", "fixed"), [(0, 0), (5, 0), (6, 0), (1, 9), (7, 7), (3, 20)])
def test_mcnemar_is_the_binomial_test_on_the_flips(broken: int, fixed: int) -> None:
    flips = broken + fixed
    expected = min(1.0, 2 * sum(math.comb(flips, k) for k in range(min(broken, fixed) + 1)) / 2**flips)
    assert statistics.mcnemar_p(broken, fixed) == pytest.approx(expected)


@pytest.mark.parametrize(
    "differences", [[1.0, 2.0, -0.5], [3.0, 1.0, 1.0, 2.0, 5.0, 0.0], [-1.0] * 8, [0.3, -0.3, 2.5, 2.5, 2.5, 0.0, 1.0]]
)
def test_sign_flips_against_enumeration(differences: list[float]) -> None:
    observed = sum(differences)
    sums = [
        sum(sign * difference for sign, difference in zip(signs, differences, strict=True))
        for signs in itertools.product((-1, 1), repeat=len(differences))
    ]
    one_sided = min(sum(other >= observed - 1e-9 for other in sums), sum(other <= observed + 1e-9 for other in sums))
    assert statistics.sign_flip_p(differences) == pytest.approx(min(1.0, 2 * one_sided / len(sums)))


def test_sign_flips_of_equal_size_are_the_exact_mcnemar_test() -> None:
    for broken, fixed in [(1, 7), (2, 9), (0, 6), (4, 4)]:
        flips = [-1.0] * broken + [1.0] * fixed + [0.0] * 10
        assert statistics.sign_flip_p(flips) == pytest.approx(statistics.mcnemar_p(broken, fixed))


def test_many_sign_flips_agree_with_students_test() -> None:
    draw = random.Random(1)
    values = [draw.gauss(0.15, 1) for _ in range(200)]
    assert statistics.sign_flip_p(values) == pytest.approx(ttest_1samp(values, 0).pvalue, rel=0.35)
    assert statistics.sign_flip_p(values * 2) == pytest.approx(ttest_1samp(values * 2, 0).pvalue)


def test_bootstrap_of_a_mean_is_close_to_the_interval_of_a_normal_mean() -> None:
    draw = random.Random(2)
    values = [draw.gauss(1, 2) for _ in range(400)]
    mean = sum(values) / 400
    half = 1.96 * math.sqrt(sum((value - mean) ** 2 for value in values) / 399 / 400)
    bounds = statistics.bootstrap_mean(values, [1.0] * 400)
    assert bounds is not None
    assert (bounds.low, bounds.high) == pytest.approx((mean - half, mean + half), abs=0.1 * half)
    assert statistics.bootstrap_mean(values, [1.0] * 400) == bounds  # the same reports, the same interval


def test_bootstrap_where_there_is_nothing_to_draw() -> None:
    assert statistics.bootstrap_mean([1.0], [1.0]) is None
    assert statistics.bootstrap_mean([0.0, 0.0], [1.0, 2.0]) == statistics.Interval(0.0, 0.0)


def test_hochberg_by_hand() -> None:
    """Step up: each p-value times the number of those that are not smaller, and the minimum from above."""
    assert statistics.hochberg([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.04, 0.04])
    assert statistics.hochberg([0.02]) == [0.02]


def test_the_error_rate_is_never_spent_more_than_once() -> None:
    shares = [statistics.share_of_error_rate(number) for number in range(1, 100_001)]
    assert sum(shares[:10]) == pytest.approx(0.5)
    assert sum(shares) < 1
    assert shares == sorted(shares, reverse=True)
    assert statistics.share_of_error_rate(0) == 1


@pytest.mark.parametrize("threshold", [0.05, 0.0045, 0.001])
def test_flips_needed_is_where_the_exact_test_begins_to_say_something(threshold: float) -> None:
    flips = statistics.flips_needed(threshold)
    assert statistics.mcnemar_p(flips, 0) <= threshold < statistics.mcnemar_p(flips - 1, 0)


@pytest.mark.parametrize(
    ("broken", "fixed", "threshold"), [(9, 3, 0.05), (14, 6, 0.0045), (30, 20, 0.05), (5, 1, 0.01)]
)
def test_cases_needed_have_the_power_that_is_promised(broken: int, fixed: int, threshold: float) -> None:
    cases = statistics.cases_needed(broken, fixed, 100, threshold)
    assert cases is not None
    flips = round(cases * (broken + fixed) / 100)
    critical = binom.isf(threshold / 2, flips, 0.5) + 1
    assert 0.78 <= binom.sf(critical - 1, flips, broken / (broken + fixed)) <= 0.86


def test_cases_needed_without_a_difference() -> None:
    assert statistics.cases_needed(3, 3, 100, ERROR_RATE) is None
    assert statistics.cases_needed(0, 0, 100, ERROR_RATE) is None
    assert (statistics.cases_needed(1000, 999, 5000, ERROR_RATE) or 0) > 1_000_000


def test_noise() -> None:
    assert statistics.noise_p(3, 100, 0.0) == 0.0
    assert statistics.noise_p(0, 100, 0.02) == 1.0
    expected = 1 - sum(math.comb(100, k) * 0.02**k * 0.98 ** (100 - k) for k in range(5))
    assert statistics.noise_p(5, 100, 0.02) == pytest.approx(expected)
    assert statistics.flip_rate_bound(0.0, 50) == 0.0
    assert statistics.flip_rate_bound(0.02, 50) == pytest.approx(statistics.wilson(1, 50).high)


def test_effective_cases() -> None:
    assert statistics.effective_cases([2.0] * 7) == pytest.approx(7)
    assert statistics.effective_cases([1.0, 3.0]) == pytest.approx(16 / 10)
    assert statistics.effective_cases([]) == 0


def test_trend() -> None:
    tau, p_value = statistics.trend_p([1, 2, 3, 4, 5])
    assert (tau, p_value) == pytest.approx((1, 2 / math.factorial(5)))  # one order of 120, either way
    assert statistics.trend_p([0.5, 0.5, 0.5]) == (0.0, 1.0)


@pytest.mark.parametrize(
    "module",
    [
        "sidestep.evaluator.commands.evaluating",
        "sidestep.evaluator.working.supervisor",
        "sidestep.evaluator.comparing.verdict",
    ],
)
def test_nothing_heavy_is_loaded_before_it_is_needed(module: str) -> None:
    code = f"import {module}, sys; print([name for name in ('scipy', 'statsmodels', 'pandas') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
