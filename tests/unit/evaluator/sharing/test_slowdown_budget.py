"""What training may still lose: saved up by training, spent by work beside it."""

from __future__ import annotations

import pytest

from sidestep.evaluator.sharing.policy import Policy
from sidestep.evaluator.sharing.slowdown import Estimate, Step, loss_of
from sidestep.evaluator.sharing.slowdown_budget import believed_cost, budget_after, cost_of

POLICY = Policy(max_slowdown=0.02)


def test_a_certain_measurement_outweighs_the_prior_and_an_uncertain_one_does_not() -> None:
    assert believed_cost(None, POLICY) == pytest.approx(loss_of(POLICY.prior_effect))
    assert believed_cost(Estimate(0.01, 0.001, 100), POLICY) == pytest.approx(0.01, abs=0.001)
    assert believed_cost(Estimate(0.01, 2.0, 100), POLICY) == pytest.approx(loss_of(POLICY.prior_effect), abs=0.01)
    assert believed_cost(Estimate(-0.05, 0.001, 100), POLICY) == 0.0


def test_the_budget_saves_up_and_pays() -> None:
    assert budget_after([Step(1.0, 0.0)] * 100, 0.5, POLICY) == pytest.approx(2.0)
    assert budget_after([Step(1.0, 0.0)] * 100 + [Step(1.0, 1.0)] * 10, 0.5, POLICY) == pytest.approx(2.0 - 4.8)
    assert budget_after([Step(1.0, 0.0)] * 100_000, 0.5, POLICY) == pytest.approx(0.02 * 900)  # not for ever


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (Step(1.1, 1.0), 0.3),  # what work is measured to cost
        (Step(20.0, 1.0), 0.95),  # training stood still: nineteen of twenty seconds are lost
        (Step(20.0, 0.1), 0.1),  # no more than the time at work: the rest was somebody else
        (Step(20.0, 0.0), 0.0),
    ],
)
def test_a_burst_in_which_training_stands_still_costs_all_of_it(step: Step, expected: float) -> None:
    assert cost_of(step, 0.3, typical_seconds=1.0) == pytest.approx(expected)
