"""The estimate of what the evaluator costs a training step, on steps whose truth is known."""

from __future__ import annotations

import random

import pytest

from sidestep.evaluator.sharing.slowdown import Step, estimate, slowdown_over


def test_nothing_is_said_about_too_few_steps() -> None:
    assert estimate([Step(1.0, 1.0)] * 50) is None
    assert estimate([Step(1.0, 0.0)] * 5 + [Step(1.3, 1.0)] * 50) is None
    unknown = slowdown_over([Step(1.0, 1.0)], None)
    assert (unknown.slowdown, unknown.steps_beside) == (None, 1)


def test_the_effect_is_found_in_spite_of_drift_and_outliers() -> None:
    chance = random.Random(5)
    steps, level = [], 1.0
    for number in range(240):
        beside = float(number % 12 >= 6)
        level *= 1 + chance.gauss(0, 0.01)
        slow = 4.0 if chance.random() < 0.03 else 1.0
        steps.append(Step(level * slow * (1 + 0.10 * beside) * (1 + chance.gauss(0, 0.03)), beside))
    found = estimate(steps)
    assert found is not None
    low, high = found.bounds()
    assert low < 0.0953 < high and high - low < 0.05
    cost = slowdown_over(steps, found)
    assert cost.slowdown == pytest.approx(0.049, abs=0.012)  # half of the time at work
    assert cost.low is not None and cost.high is not None and cost.low < 0.049 < cost.high


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    chance, hits = random.Random(11), 0
    for _ in range(200):
        steps = [Step(1.05 ** (n % 10 >= 5) * chance.lognormvariate(0, 0.1), float(n % 10 >= 5)) for n in range(120)]
        found = estimate(steps)
        assert found is not None
        low, high = found.bounds()
        hits += low <= 0.04879 <= high
    assert 180 <= hits <= 199
