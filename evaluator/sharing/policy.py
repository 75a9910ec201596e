"""When the evaluator works beside a training, and when it rests. Pure decisions."""

from __future__ import annotations

from dataclasses import dataclass

WINDOW_STEPS = 2.5  # at work, or at rest, at least this many steps: shorter ones cannot be told apart
LONGEST_WINDOW = 20.0  # seconds, however long a step is
PROBE_STEPS = 25  # at work for so many steps, one rest is due, to have something to compare with
DUTY_CYCLE = 0.015  # of one processor, or of the time on a GPU, beside a training that is to lose nothing


@dataclass(frozen=True)
class Policy:
    """What is asked for, and what work is thought to cost before it is measured.

    Without ``max_slowdown`` there are no bursts: beside a training at most ``duty_cycle``, or no limit. No duty cycle
    is kept where the kernel gives training the processor whenever it wants it.
    """

    max_slowdown: float | None = 0.02
    prior_effect: float = 0.25
    prior_error: float = 0.15
    duty_cycle: float | None = None


def policy_for(max_slowdown: float | None, *, on_cpu: bool, bursts: bool = False) -> Policy:
    """What to expect before anything is measured.

    On a GPU contexts take turns, so work costs training half of the time. On a CPU it costs more than that in bursts at
    full priority (threads of one step wait for each other), and little in the idle class.
    """
    if not max_slowdown:
        return Policy(None, duty_cycle=DUTY_CYCLE if max_slowdown == 0 else None)
    if on_cpu and not bursts:
        return Policy(max_slowdown)
    return Policy(max_slowdown, prior_effect=1.2 if on_cpu else 0.7, prior_error=0.6)


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """All that a decision rests on. Times in seconds.

    ``working`` is what the evaluator does now, and ``since`` for how long; ``cost`` is what training loses in a second
    of it, as a part of that second; ``budget`` is what training may still lose.
    """

    training_active: bool
    working: bool
    since: float
    step_seconds: float
    cost: float
    budget: float


def should_work(snapshot: Snapshot, policy: Policy) -> bool:
    """Whether to be at work from now on, rather than at rest."""
    if not snapshot.training_active or policy.max_slowdown is None:
        return True
    window = shortest_window(snapshot.step_seconds)
    if snapshot.working:
        if snapshot.since < window:
            return True
        probe_due = snapshot.since >= PROBE_STEPS * snapshot.step_seconds and snapshot.step_seconds > 0
        return snapshot.budget > 0 and not probe_due
    wanted = max(0.0, snapshot.cost - policy.max_slowdown) * window
    return snapshot.since >= window and snapshot.budget >= wanted


def shortest_window(step_seconds: float) -> float:
    """How long to stay at work, or at rest, before changing, in seconds."""
    return min(WINDOW_STEPS * step_seconds, LONGEST_WINDOW)
