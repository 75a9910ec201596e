"""The governor: decisions as tables, and a simulated training whose steps get longer when the evaluator works."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sidestep.evaluator.sharing.activity import Activity
from sidestep.evaluator.sharing.governor import Governor
from sidestep.evaluator.sharing.policy import DUTY_CYCLE, Policy, Snapshot, policy_for, shortest_window, should_work
from sidestep.evaluator.sharing.slowdown import Estimate, Step, estimate, loss_of, slowdown_over
from sidestep.evaluator.sharing.slowdown_budget import believed_cost, budget_after, cost_of
from sidestep.shared.protocol.pace import Pace, machine_name

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


def test_what_is_expected_before_anything_is_measured() -> None:
    idle = policy_for(0.02, on_cpu=True)
    gpu, bursts = policy_for(0.02, on_cpu=False), policy_for(0.02, on_cpu=True, bursts=True)
    assert idle.prior_effect < gpu.prior_effect < bursts.prior_effect


def test_activity_knows_the_part_of_a_step() -> None:
    activity = Activity()
    activity.begin(1.0)
    activity.end(2.0)
    activity.begin(3.5)
    assert activity.share_of(0.0, 4.0, now=4.0) == pytest.approx(1.5 / 4)
    assert activity.share_of(2.0, 3.0, now=4.0) == 0.0


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


class SimulatedTraining:
    """Time passes only here. A step takes ``seconds`` alone, and ``cost`` more for the part the evaluator works."""

    def __init__(self, seconds: float, cost: float, noise: float = 0.05) -> None:
        self.now, self.seconds, self.cost, self.noise = 1000.0, seconds, cost, noise
        self.steps: list[tuple[float, float]] = []
        self.began, self.left = self.now, self._length()
        self.chance = random.Random(3)
        self.worked = 0.0

    def _length(self) -> float:
        return self.seconds * random.Random(len(self.steps)).lognormvariate(0, self.noise)

    def pass_time(self, seconds: float, *, working: bool) -> None:
        self.worked += seconds * working
        speed = 1 / (1 + self.cost) if working else 1.0
        while seconds > 0:
            needed = self.left / speed
            part = min(needed, seconds)
            self.now += part
            seconds -= part
            self.left -= part * speed
            if self.left <= 1e-9:
                self.steps.append((self.began, self.now))
                self.began, self.left = self.now, self._length()

    def pace(self, path: Path) -> Pace:
        steps = tuple(self.steps[-512:])
        return Pace(machine=machine_name(), process=1, written_at=self.now, training=True, steps=steps)

    def slowdown(self) -> float:
        total = sum(end - begin for begin, end in self.steps)
        alone = sum(self.seconds * random.Random(n).lognormvariate(0, self.noise) for n in range(len(self.steps)))
        return total / alone - 1


def simulate(training: SimulatedTraining, policy: Policy, decode_steps: int) -> Governor:
    governor = Governor(
        policy,
        clock=lambda: training.now,
        sleep=lambda seconds: training.pass_time(seconds, working=False),
        read=training.pace,
    )
    training.pass_time(40 * training.seconds, working=False)
    governor.begin_evaluation((Path("pace"),))
    for _ in range(decode_steps):
        governor.wait_for_turn()
        training.pass_time(0.05, working=True)
    return governor


@pytest.mark.parametrize("cost", [0.0, 0.1, 0.3, 1.0, 15.0])
def test_a_simulated_training_loses_no_more_than_allowed(cost: float) -> None:
    training = SimulatedTraining(seconds=0.8, cost=cost)
    sharing = simulate(training, Policy(max_slowdown=0.02), decode_steps=500).end_evaluation()
    assert training.slowdown() < 0.026
    if cost:
        assert sharing.run.low is not None and sharing.run.high is not None
        assert sharing.run.low <= training.slowdown() + 0.002 and training.slowdown() - 0.006 <= sharing.run.high


def test_a_harmless_evaluator_hardly_rests() -> None:
    training = SimulatedTraining(seconds=0.8, cost=0.005)
    simulate(training, Policy(max_slowdown=0.02), decode_steps=3000)
    assert training.worked / (training.now - 1000.0) > 0.6


def test_without_a_limit_it_never_rests_and_still_reports() -> None:
    training = SimulatedTraining(seconds=0.8, cost=0.3)
    sharing = simulate(training, Policy(max_slowdown=None), decode_steps=600).end_evaluation()
    assert sharing.rested_seconds == 0
    assert sharing.slowdown == pytest.approx(0.3, abs=0.08)


def test_without_training_it_runs_at_full_speed() -> None:
    governor = Governor(POLICY, sleep=lambda seconds: pytest.fail("it rested"), read=lambda path: None)
    governor.begin_evaluation((Path("pace"),))
    for _ in range(100):
        governor.wait_for_turn()
    assert not governor.training_active and governor.end_evaluation().slowdown is None


def test_a_check_can_end_a_rest() -> None:
    training = SimulatedTraining(seconds=0.8, cost=1.0)
    governor = Governor(
        Policy(max_slowdown=0.001), clock=lambda: training.now, read=training.pace,
        sleep=lambda seconds: training.pass_time(seconds, working=False),
    )  # fmt: skip
    governor.begin_evaluation((Path("pace"),))

    def deadline() -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        for _ in range(10_000):
            governor.wait_for_turn(deadline)
            training.pass_time(0.05, working=True)


class FakePriority:
    def __init__(self, *, preempted: bool = False) -> None:
        self.preempted = preempted
        self.log: list[str] = []

    def set_priority(self, *, full: bool) -> None:
        self.log.append("full" if full else "low")

    def is_preempted_by(self, pace: Pace) -> bool:
        return self.preempted


@pytest.mark.parametrize(
    ("max_slowdown", "training", "expected"),
    [(0.02, True, "full"), (None, True, "low"), (0.02, False, "low")],
)
def test_full_priority_only_in_a_burst_that_training_pays_for(
    max_slowdown: float | None, training: bool, expected: str
) -> None:
    simulated, priority = SimulatedTraining(seconds=0.8, cost=1.0), FakePriority()
    governor = Governor(
        Policy(max_slowdown), clock=lambda: simulated.now, priority=priority,
        sleep=lambda seconds: simulated.pass_time(seconds, working=False),
        read=simulated.pace if training else lambda path: None,
    )  # fmt: skip
    simulated.pass_time(400, working=False)
    governor.begin_evaluation((Path("pace"),))
    governor.wait_for_turn()
    assert priority.log[-1] == expected
    governor.end_evaluation()
    assert priority.log[-1] == "low"


def test_a_rest_gives_the_priority_back() -> None:
    simulated, priority = SimulatedTraining(seconds=0.8, cost=1.0), FakePriority()
    governor = Governor(
        Policy(0.02), clock=lambda: simulated.now, read=simulated.pace, priority=priority,
        sleep=lambda seconds: simulated.pass_time(seconds, working=False),
    )  # fmt: skip
    simulated.pass_time(400, working=False)
    governor.begin_evaluation((Path("pace"),))
    while governor.rested_seconds == 0:
        governor.wait_for_turn()
        simulated.pass_time(0.05, working=True)
    assert "low" in priority.log and priority.log[0] == priority.log[-1] == "full"


@pytest.mark.parametrize(("max_slowdown", "expected"), [(0.02, ["full", "low"]), (None, ["low", "low"])])
def test_loading_the_base_model_is_a_burst(max_slowdown: float | None, expected: list[str]) -> None:
    priority = FakePriority()
    governor = Governor(Policy(max_slowdown), priority=priority)
    governor.begin_loading()
    governor.end_loading()
    assert priority.log == expected


@pytest.mark.parametrize("on_cpu", [True, False])
def test_to_lose_nothing_is_not_to_have_no_limit(on_cpu: bool) -> None:
    assert policy_for(0.0, on_cpu=on_cpu, bursts=on_cpu) == Policy(None, duty_cycle=DUTY_CYCLE)
    assert policy_for(None, on_cpu=on_cpu, bursts=on_cpu) == Policy(None, duty_cycle=None)


@pytest.mark.parametrize(
    ("training", "preempted", "share"), [(True, False, 0.01), (False, False, 1.0), (True, True, 1.0)]
)
def test_beside_a_training_that_is_to_lose_nothing_it_keeps_a_duty_cycle_or_takes_what_is_left_over(
    training: bool, preempted: bool, share: float
) -> None:
    simulated, used = SimulatedTraining(seconds=0.8, cost=0.0), [0.0]
    governor = Governor(
        Policy(None, duty_cycle=0.01), clock=lambda: simulated.now, used_seconds=lambda: used[0],
        priority=FakePriority(preempted=preempted),
        sleep=lambda seconds: simulated.pass_time(seconds, working=False),
        read=simulated.pace if training else lambda path: None,
    )  # fmt: skip
    simulated.pass_time(60, working=False)
    began = simulated.now
    governor.begin_evaluation((Path("pace"),))
    for _ in range(20):
        used[0] += 0.05
        simulated.pass_time(0.05, working=True)
        governor.wait_for_turn()
    assert used[0] / (simulated.now - began) == pytest.approx(share, rel=0.05)
