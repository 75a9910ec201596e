"""What training may still lose to the evaluator: a budget in seconds, filled by training and spent by work beside it.

Every second of training adds ``max_slowdown`` of it, every second at work takes what that second is measured to cost.
So a checkpoint now and then is evaluated at full speed from what has been saved up, and a long queue is spread out.
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from sidestep.evaluator.cases.result import Slowdown
from sidestep.evaluator.sharing.policy import Policy
from sidestep.evaluator.sharing.slowdown import BLOCK_STEPS, Estimate, Step, estimate, loss_of, slowdown_over
from sidestep.shared.protocol.pace import KEPT_STEPS

BUDGET_SECONDS = 900.0  # what training may lose is saved up over so much of it
STANDSTILL = 2.0  # a step that takes so many times as long as usual shows by itself what it lost


@dataclass(frozen=True)
class AttributedStep:
    """A training step, and when it ended."""

    ended: float
    step: Step


class SlowdownBudget:
    """The training steps seen so far, what work beside them costs, and what training may still lose."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._steps: deque[AttributedStep] = deque(maxlen=2 * KEPT_STEPS)
        self._estimate: Estimate | None = None
        self._balance = 0.0
        self.step_seconds = 0.0  # a typical training step

    @property
    def last_end(self) -> float | None:
        """When the last step that was seen ended."""
        return self._steps[-1].ended if self._steps else None

    @property
    def cost(self) -> float:
        """What training loses in a second at work, as a part of it."""
        return believed_cost(self._estimate, self._policy)

    def add(self, ended: Sequence[AttributedStep]) -> None:
        """Steps that have ended since the last call, oldest first."""
        if not ended:
            return
        self._steps.extend(ended)
        steps = [seen.step for seen in self._steps]
        self._estimate = estimate(steps)
        self.step_seconds = statistics.median(step.seconds for step in steps[-BLOCK_STEPS:])
        self._balance = budget_after(steps, self.cost, self._policy, self.step_seconds)

    def remaining(self, underway: Sequence[Step]) -> float:
        """Seconds that training may still lose; ``underway`` is what has passed of the step that has not ended."""
        return self._balance + budget_after(underway, self.cost, self._policy, self.step_seconds)

    def slowdown(self, since: float | None = None) -> Slowdown:
        """What the evaluator cost the steps that ended from ``since`` on; all that were seen without it."""
        steps = [seen.step for seen in self._steps if since is None or seen.ended >= since]
        return slowdown_over(steps, self._estimate)


def believed_cost(measured: Estimate | None, policy: Policy) -> float:
    """What training loses in a second at work: measurement and prior, each weighted by its certainty. Pure."""
    effect = policy.prior_effect
    if measured is not None:
        trust = policy.prior_error**2 / (policy.prior_error**2 + measured.error**2)
        effect = trust * measured.effect + (1 - trust) * policy.prior_effect
    return max(0.0, loss_of(effect))


def budget_after(steps: Sequence[Step], cost: float, policy: Policy, typical_seconds: float = 0.0) -> float:
    """What training may still lose after these steps, in seconds; the last ``BUDGET_SECONDS`` count. Pure."""
    budget, seen = 0.0, 0.0
    for step in reversed(steps):
        if seen >= BUDGET_SECONDS:
            break
        budget += step.seconds * ((policy.max_slowdown or 0.0) - cost_of(step, cost, typical_seconds))
        seen += step.seconds
    return budget


def cost_of(step: Step, cost: float, typical_seconds: float) -> float:
    """The part of a step that training lost to the evaluator: what work costs, or what a standstill shows. Pure.

    The estimate gives single slow steps little weight, and a burst may well be one: it would cost more than is paid
    for it.
    """
    part = cost * step.overlap
    if typical_seconds > 0 and step.seconds > STANDSTILL * typical_seconds:
        part = max(part, min(step.overlap, 1 - typical_seconds / step.seconds))
    return part
