"""The governor beside a simulated training, whose steps get longer when the evaluator works."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from sidestep.evaluator.sharing.governor import Governor
from sidestep.evaluator.sharing.policy import Policy
from sidestep.shared.protocol.pace import Pace, machine_name

POLICY = Policy(max_slowdown=0.02)


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
