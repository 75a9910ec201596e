"""How much slower training steps are beside the evaluator than without it, and how sure that is. Pure.

Every step is a measurement: how long it took, and during what part of it the evaluator was at work (0..1). The
logarithm of the seconds is regressed on that part within blocks of neighbouring steps, so that what changes slowly
(other work on the machine, longer rows) cancels out, and single slow steps get little weight (Huber).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from sidestep.evaluator.cases.result import Slowdown

BLOCK_STEPS = 24  # neighbours that are compared with each other
HUBER = 1.345  # residuals beyond this many deviations count less
LEAST_STEPS = 6  # of each kind, before anything is said
BESIDE = 0.5  # a step counts as "beside" from this overlap on, and as "alone" up to the next
ALONE = 0.05

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Step:
    """One training step: its length in seconds, and the part of it during which the evaluator was at work."""

    seconds: float
    overlap: float


@dataclass(frozen=True)
class Estimate:
    """What a step costs more when the evaluator works through all of it, as a logarithm with its standard error."""

    effect: float
    error: float
    freedom: int

    def bounds(self) -> tuple[float, float]:
        """The 95 % interval of the effect."""
        reach = float(stdtrit(self.freedom, 0.975)) * self.error
        return self.effect - reach, self.effect + reach


def estimate(steps: Sequence[Step]) -> Estimate | None:
    """The effect of the evaluator on a step; None while too few steps of both kinds were seen close to each other."""
    if min(count_kinds(steps)) < LEAST_STEPS:
        return None
    seconds = np.log([max(step.seconds, 1e-6) for step in steps])
    overlap = np.array([step.overlap for step in steps])
    block = np.arange(len(steps)) // BLOCK_STEPS
    weights = np.ones(len(steps))
    for _ in range(8):
        x, y = _within(overlap, block, weights), _within(seconds, block, weights)
        spread = float((weights * x * x).sum())
        if spread < 0.5:
            return None
        effect = float((weights * x * y).sum()) / spread
        residuals = y - effect * x
        scale = max(float(np.median(np.abs(residuals))) / 0.6745, 1e-4)
        weights = np.minimum(1.0, HUBER * scale / np.maximum(np.abs(residuals), 1e-12))
    freedom = len(steps) - int(block[-1]) - 2
    if freedom < LEAST_STEPS:
        return None
    # The M-estimator's variance (Huber 1973): clipped residuals over the share of those that are not clipped.
    clipped = np.clip(residuals, -HUBER * scale, HUBER * scale)
    inside = float(np.mean(np.abs(residuals) <= HUBER * scale))
    variance = float((clipped**2).sum()) / freedom / inside**2
    return Estimate(effect, float(np.sqrt(variance / float((x * x).sum()))), freedom)


def slowdown_over(steps: Sequence[Step], measured: Estimate | None) -> Slowdown:
    """What the evaluator cost these steps: the effect, times the part of them during which it was at work."""
    beside, alone = count_kinds(steps)
    if measured is None or not steps:
        return Slowdown(steps_beside=beside, steps_alone=alone)
    part = sum(step.overlap * step.seconds for step in steps) / sum(step.seconds for step in steps)
    low, high = (slowdown_of(bound, part) for bound in measured.bounds())
    return Slowdown(slowdown_of(measured.effect, part), low, high, beside, alone)


def loss_of(effect: float) -> float:
    """The part of a second at work that training loses."""
    return 1 - math.exp(-effect)


def slowdown_of(effect: float, part: float) -> float:
    """How much longer training takes when the evaluator works for a part of the time."""
    loss = part * loss_of(effect)
    return loss / (1 - loss)


def count_kinds(steps: Sequence[Step]) -> tuple[int, int]:
    """How many steps were beside the evaluator, and how many alone."""
    return sum(step.overlap >= BESIDE for step in steps), sum(step.overlap <= ALONE for step in steps)


def _within(values: Array, block: NDArray[np.int_], weights: Array) -> Array:
    """Values less the weighted mean of their block."""
    means = np.bincount(block, weights * values) / np.bincount(block, weights)
    return np.asarray(values - means[block])
