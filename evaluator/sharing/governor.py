"""Holds the evaluator to what training may lose: "at most 2 % slower", measured on the training itself.

Between two decode steps the governor looks at the pace that the trainer leaves, attributes every training
step to time at work or time at rest, and decides whether to go on or to rest. What training may lose is an account:
every second of training adds ``max_slowdown`` of it, every second at work beside training takes the measured cost.
So a checkpoint now and then is evaluated at full speed from what has been saved up, and a long queue is spread out.
Bursts at full weight are what a processor shares best: at a low weight all the time, an evaluation beside a training
that fills the processor gets nowhere and still costs (docs/decisions/cpu-share.md).

Where no training runs there is nothing to hold back for.
"""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from sidestep.evaluator.cases.result import Sharing
from sidestep.evaluator.sharing.slowdown import BLOCK_STEPS, Estimate, Step, caused, estimate, lost
from sidestep.shared.logs import get_logger
from sidestep.shared.protocol.pace import KEPT_STEPS, Pace, read_pace

log = get_logger("evaluator.worker")

LOOK_SECONDS = 1.0  # the pace is read at most this often
REST_SECONDS = 0.25  # between looks while resting
WINDOW_STEPS = 2.5  # at work, or at rest, at least this many steps: shorter ones cannot be told apart
LONGEST_WINDOW = 20.0  # seconds, however long a step is
PROBE_STEPS = 25  # at work for so many steps, one rest is due, to have something to compare with
ACCOUNT_SECONDS = 900.0  # what training may lose is saved up over so much of it
STANDSTILL = 2.0  # a step that takes so many times as long as usual shows by itself what it lost
MAX_INTERVALS = 4096
TRICKLE = 0.015  # of one processor, or of the time on a GPU, beside a training that is to lose nothing


@dataclass(frozen=True)
class Policy:
    """What is asked for, and what work is thought to cost before it is measured.

    Without ``max_slowdown`` there are no bursts: beside a training at most ``trickle``, or no limit. No trickle is
    kept where the kernel gives training the processor whenever it wants it.
    """

    max_slowdown: float | None = 0.02
    prior_effect: float = 0.25
    prior_error: float = 0.15
    trickle: float | None = None


def policy_for(max_slowdown: float | None, *, on_cpu: bool, bursts: bool = False) -> Policy:
    """What to expect before anything is measured. Pure.

    On a GPU contexts take turns, so work costs training half of the time. On a CPU it costs more than that in bursts at
    full weight (threads of one step wait for each other), and little in the idle class.
    """
    if not max_slowdown:
        return Policy(None, trickle=TRICKLE if max_slowdown == 0 else None)
    if on_cpu and not bursts:
        return Policy(max_slowdown)
    return Policy(max_slowdown, prior_effect=1.2 if on_cpu else 0.7, prior_error=0.6)


@dataclass(frozen=True)
class View:
    """All that a decision rests on. Times in seconds."""

    training: bool
    working: bool  # what we are doing now, and for how long
    since: float
    step: float  # a typical training step
    cost: float  # what training loses in a second at work, as a part of it
    credit: float  # what training may still lose


def should_work(view: View, policy: Policy) -> bool:
    """Whether to be at work from now on, rather than at rest. Pure."""
    if not view.training or policy.max_slowdown is None:
        return True
    window = shortest_window(view.step)
    if view.working:
        if view.since < window:
            return True
        probe_due = view.since >= PROBE_STEPS * view.step and view.step > 0
        return view.credit > 0 and not probe_due
    wanted = max(0.0, view.cost - policy.max_slowdown) * window
    return view.since >= window and view.credit >= wanted


def shortest_window(step: float) -> float:
    """How long to stay at work, or at rest, before changing. Pure."""
    return min(WINDOW_STEPS * step, LONGEST_WINDOW)


def believed_cost(measured: Estimate | None, policy: Policy) -> float:
    """What training loses in a second at work: measurement and prior, each weighed by its certainty. Pure."""
    effect = policy.prior_effect
    if measured is not None:
        trust = policy.prior_error**2 / (policy.prior_error**2 + measured.error**2)
        effect = trust * measured.effect + (1 - trust) * policy.prior_effect
    return max(0.0, lost(effect))


def account(steps: Sequence[Step], cost: float, policy: Policy, typical: float = 0.0) -> float:
    """What training may still lose after these steps, in seconds; the last ``ACCOUNT_SECONDS`` count. Pure."""
    credit, seen = 0.0, 0.0
    for step in reversed(steps):
        if seen >= ACCOUNT_SECONDS:
            break
        credit += step.seconds * ((policy.max_slowdown or 0.0) - charged(step, cost, typical))
        seen += step.seconds
    return credit


def charged(step: Step, cost: float, typical: float) -> float:
    """The part of a step that training lost to the evaluator: what work costs, or what a standstill shows. Pure.

    The estimate weighs single slow steps down, and a burst may well be one: it would cost more than is paid for it.
    """
    part = cost * step.beside
    if typical > 0 and step.seconds > STANDSTILL * typical:
        part = max(part, min(step.beside, 1 - typical / step.seconds))
    return part


@dataclass
class Activity:
    """When the evaluator was at work: closed intervals, and the open one."""

    intervals: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=MAX_INTERVALS))
    since: float | None = None

    def begin(self, now: float) -> None:
        if self.since is None:
            self.since = now

    def end(self, now: float) -> None:
        if self.since is not None:
            self.intervals.append((self.since, now))
            self.since = None

    def part_of(self, begin: float, end: float, now: float) -> float:
        """The part of the time from ``begin`` to ``end`` spent at work."""
        spans = [*self.intervals, (self.since, now)] if self.since is not None else list(self.intervals)
        overlap = sum(max(0.0, min(end, until) - max(begin, since)) for since, until in spans)
        return min(1.0, overlap / (end - begin)) if end > begin else 0.0


@dataclass(frozen=True)
class _Seen:
    """A training step as it was attributed."""

    ended: float
    step: Step


class Share(Protocol):
    """What can be changed about this process's share of the processor (process_priority.ProcessorShare)."""

    def low(self) -> None: ...
    def full(self) -> None: ...
    def yields_to(self, pace: Pace) -> bool: ...


class Governor:
    """The worker's side: told when work begins and ends, asked between decode steps, says what it all cost."""

    def __init__(
        self,
        policy: Policy,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        read: Callable[[Path], Pace | None] = read_pace,
        share: Share | None = None,
        processor: Callable[[], float] = time.process_time,
    ) -> None:
        """``processor``: seconds that count as used."""
        self._policy = policy
        self._processor = processor
        self._weighed = clock(), processor()  # where the trickle is counted from
        self._clock = clock
        self._sleep = sleep
        self._read = read
        self._share = share
        self._paths: tuple[Path, ...] = ()
        self._activity = Activity()
        self._seen: deque[_Seen] = deque(maxlen=2 * KEPT_STEPS)
        self._estimate: Estimate | None = None
        self._balance = 0.0  # of the steps that have ended
        self._typical = 0.0
        self._training = False
        self._yields = False
        self._looked = float("-inf")
        self._changed = clock()  # when we last went from work to rest or back
        self._evaluation_began = clock()
        self.rested_seconds = 0.0

    @property
    def training(self) -> bool:
        """Whether a training was running beside us at the last look."""
        return self._training

    def start(self) -> None:
        """The worker starts: loading the base model is work, too, and a burst: training pays for it afterwards.

        At a low weight it would take minutes beside a training that fills the processor, and cost about as much.
        """
        self._weigh(paid_for=self._policy.max_slowdown is not None)
        self._activity.begin(self._clock())

    def started(self) -> None:
        """The worker is ready and at rest."""
        self._activity.end(self._clock())
        self._weigh(paid_for=False)

    def begin(self, paths: Sequence[Path]) -> None:
        """An evaluation begins; ``paths`` are where trainings of this folder leave their pace."""
        self._paths = tuple(paths)
        self._evaluation_began = self._changed = self._clock()
        self.rested_seconds = 0.0
        self._activity.begin(self._clock())
        self._weighed = self._clock(), self._processor()
        self._look()

    def end(self) -> Sharing:
        """The evaluation is over: what it and the run so far cost the training beside them."""
        self._activity.end(self._clock())
        self._weigh(paid_for=False)
        self._look()
        during = [each.step for each in self._seen if each.ended >= self._evaluation_began]
        run = [each.step for each in self._seen]
        return Sharing(
            **vars(caused(self._estimate, during)), run=caused(self._estimate, run), rested_seconds=self.rested_seconds
        )

    def between_steps(self, check: Callable[[], None] = lambda: None) -> None:
        """Return when it is time to work; rests until then. ``check`` is called while resting and may raise."""
        while not should_work(self._view(), self._policy):
            if self.rested_seconds == 0:
                log.info("resting: training is to lose at most %.3g %%", 100 * (self._policy.max_slowdown or 0))
            self._switch(working=False)
            self._weigh(paid_for=False)
            before = self._clock()
            self._sleep(REST_SECONDS)
            self.rested_seconds += self._clock() - before
            check()
        self._switch(working=True)
        self._weigh(paid_for=self._training and self._policy.max_slowdown is not None)
        self._trickle(check)

    def _trickle(self, check: Callable[[], None]) -> None:
        """Wait until what was used since the last step is no more than the trickle, or training has ended.

        Where the kernel puts training first, what training leaves over costs it nothing, and there is no need to wait.
        """
        if self._policy.trickle:
            since, used = self._weighed
            until = since + (self._processor() - used) / self._policy.trickle
            while self._view().training and not self._yields and (left := until - self._clock()) > 0:
                self._sleep(min(left, REST_SECONDS))
                check()
            self._weighed = self._clock(), self._processor()

    def _weigh(self, *, paid_for: bool) -> None:
        """Compete for the processor only in a burst that training's account pays for; else take what is left over."""
        if self._share is not None:
            self._share.full() if paid_for else self._share.low()

    def _view(self) -> View:
        now = self._clock()
        if now - self._looked >= LOOK_SECONDS:
            self._look()
        cost = believed_cost(self._estimate, self._policy)
        return View(
            training=self._training,
            working=self._activity.since is not None,
            since=now - self._changed,
            step=self._typical,
            cost=cost,
            credit=self._balance + account(self._underway(now), cost, self._policy, self._typical),
        )

    def _underway(self, now: float) -> list[Step]:
        """The training step that has not ended yet."""
        began = self._seen[-1].ended if self._seen else self._evaluation_began
        return [Step(now - began, self._activity.part_of(began, now, now))] if now > began else []

    def _switch(self, *, working: bool) -> None:
        now = self._clock()
        if working == (self._activity.since is not None):
            return
        if working:
            self._activity.begin(now)
        else:
            self._activity.end(now)
        self._changed = now

    def _look(self) -> None:
        """Read the pace and attribute the steps that have ended since the last look."""
        self._looked = now = self._clock()
        paces = [pace for path in self._paths if (pace := self._read(path)) is not None and pace.is_running(now)]
        self._training = bool(paces)
        self._yields = self._share is not None and all(self._share.yields_to(pace) for pace in paces)
        if not paces:
            return
        pace = max(paces, key=lambda each: each.written_at)
        known = self._seen[-1].ended if self._seen else float("-inf")
        fresh = [(begin, end) for begin, end in pace.steps if end > known and end > begin]
        for begin, end in fresh:
            self._seen.append(_Seen(end, Step(end - begin, self._activity.part_of(begin, end, now))))
        if fresh:
            steps = [each.step for each in self._seen]
            self._estimate = estimate(steps)
            self._typical = statistics.median(each.seconds for each in steps[-BLOCK_STEPS:])
            cost = believed_cost(self._estimate, self._policy)
            self._balance = account(steps, cost, self._policy, self._typical)
