"""When to work and when to rest: decisions as tables."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sidestep.evaluator.sharing.policy import DUTY_CYCLE, Policy, Snapshot, policy_for, shortest_window, should_work

POLICY = Policy(max_slowdown=0.02)


def snapshot(**changes: Any) -> Snapshot:
    beside = Snapshot(training_active=True, working=True, since=60.0, step_seconds=1.0, cost=0.25, budget=1.0)
    return replace(beside, **changes)


@pytest.mark.parametrize(
    ("case", "policy", "expected"),
    [
        (snapshot(training_active=False, budget=-9.0), POLICY, True),  # nobody to hold back for
        (snapshot(budget=-9.0), Policy(max_slowdown=None), True),  # asked never to rest
        (snapshot(since=10.0), POLICY, True),  # saved up: go on
        (snapshot(since=10.0, budget=-0.1), POLICY, False),  # used up: rest
        (snapshot(since=1.0, budget=-0.1), POLICY, True),  # a window too short to be measured says nothing
        (snapshot(since=26.0), POLICY, False),  # time for something to compare with
        (snapshot(working=False, since=1.0), POLICY, False),  # rests, too, must be long enough to be measured
        (snapshot(working=False, since=10.0, budget=0.3), POLICY, False),  # not enough for one window: 0.23 x 2.5 s
        (snapshot(working=False, since=10.0, budget=0.6), POLICY, True),
        (snapshot(working=False, since=10.0, cost=0.01, budget=0.0), POLICY, True),  # costs less than what is allowed
    ],
)
def test_when_to_work(case: Snapshot, policy: Policy, expected: bool) -> None:
    assert should_work(case, policy) is expected


def test_windows_follow_the_step_up_to_a_limit() -> None:
    assert shortest_window(0.4) == pytest.approx(1.0)
    assert shortest_window(300.0) == 20.0


def test_what_is_expected_before_anything_is_measured() -> None:
    idle = policy_for(0.02, on_cpu=True)
    gpu, bursts = policy_for(0.02, on_cpu=False), policy_for(0.02, on_cpu=True, bursts=True)
    assert idle.prior_effect < gpu.prior_effect < bursts.prior_effect


@pytest.mark.parametrize("on_cpu", [True, False])
def test_to_lose_nothing_is_not_to_have_no_limit(on_cpu: bool) -> None:
    assert policy_for(0.0, on_cpu=on_cpu, bursts=on_cpu) == Policy(None, duty_cycle=DUTY_CYCLE)
    assert policy_for(None, on_cpu=on_cpu, bursts=on_cpu) == Policy(None, duty_cycle=None)
