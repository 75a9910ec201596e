"""Holds the evaluator to what training may lose: "at most 2 % slower", measured on the training itself.

Between two decode steps the governor reads the pace that the trainer leaves, attributes every training step to time at
work or time at rest, and decides whether to go on or to rest (policy), from what training may still lose
(slowdown_budget). Bursts at full priority are what a processor shares best: at a low priority all the time, an
evaluation beside a training that fills the processor gets nowhere and still costs (docs/decisions/cpu-share.md).

Where no training runs there is nothing to hold back for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from sidestep.evaluator.cases.result import Sharing
from sidestep.evaluator.sharing.activity import Activity
from sidestep.evaluator.sharing.duty_cycle import REST_SECONDS, DutyCycle
from sidestep.evaluator.sharing.policy import Policy, Snapshot, should_work
from sidestep.evaluator.sharing.slowdown import Step
from sidestep.evaluator.sharing.slowdown_budget import AttributedStep, SlowdownBudget
from sidestep.shared.logs import get_logger
from sidestep.shared.protocol.pace import Pace, read_pace

log = get_logger("evaluator.worker")

POLL_SECONDS = 1.0  # the pace is read at most this often


class Priority(Protocol):
    """What can be changed about this process's priority (process_priority.ProcessPriority)."""

    def set_priority(self, *, full: bool) -> None: ...
    def is_preempted_by(self, pace: Pace) -> bool: ...


class Governor:
    """The worker's side: told when work begins and ends, asked between decode steps, says what it all cost."""

    def __init__(
        self,
        policy: Policy,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        read: Callable[[Path], Pace | None] = read_pace,
        priority: Priority | None = None,
        used_seconds: Callable[[], float] = time.process_time,
    ) -> None:
        """``used_seconds``: how much of the device has been used, for a duty cycle."""
        self._policy = policy
        self._clock = clock
        self._sleep = sleep
        self._read = read
        self._priority = priority
        self._duty_cycle = (
            DutyCycle(policy.duty_cycle, clock=clock, sleep=sleep, used_seconds=used_seconds)
            if policy.duty_cycle
            else None
        )
        self._budget = SlowdownBudget(policy)
        self._activity = Activity()
        self._paths: tuple[Path, ...] = ()
        self._training_active = False
        self._preempted = False
        self._polled_at = float("-inf")
        self._changed_at = clock()  # when we last went from work to rest or back
        self._evaluation_began = clock()
        self.rested_seconds = 0.0

    @property
    def training_active(self) -> bool:
        """Whether a training was running beside us at the last poll."""
        return self._training_active

    def begin_loading(self) -> None:
        """Loading the base model is work, too, and a burst: training pays for it afterwards.

        At a low priority it would take minutes beside a training that fills the processor, and cost about as much.
        """
        self._set_priority(paid_for=self._policy.max_slowdown is not None)
        self._activity.begin(self._clock())

    def end_loading(self) -> None:
        """The worker is ready and at rest."""
        self._activity.end(self._clock())
        self._set_priority(paid_for=False)

    def begin_evaluation(self, paths: Sequence[Path]) -> None:
        """``paths`` are where trainings of this folder leave their pace."""
        self._paths = tuple(paths)
        self._evaluation_began = self._changed_at = self._clock()
        self.rested_seconds = 0.0
        self._activity.begin(self._clock())
        if self._duty_cycle:
            self._duty_cycle.restart()
        self._poll()

    def end_evaluation(self) -> Sharing:
        """What the evaluation and the run so far cost the training beside them."""
        self._activity.end(self._clock())
        self._set_priority(paid_for=False)
        self._poll()
        during = self._budget.slowdown(self._evaluation_began)
        return Sharing(**vars(during), run=self._budget.slowdown(), rested_seconds=self.rested_seconds)

    def wait_for_turn(self, check: Callable[[], None] = lambda: None) -> None:
        """Return when it is time to work; rests until then. ``check`` is called while resting and may raise."""
        while not should_work(self._snapshot(), self._policy):
            if self.rested_seconds == 0:
                log.info("resting: training is to lose at most %.3g %%", 100 * (self._policy.max_slowdown or 0))
            self._set_working(working=False)
            self._set_priority(paid_for=False)
            before = self._clock()
            self._sleep(REST_SECONDS)
            self.rested_seconds += self._clock() - before
            check()
        self._set_working(working=True)
        self._set_priority(paid_for=self._training_active and self._policy.max_slowdown is not None)
        if self._duty_cycle:
            self._duty_cycle.wait(self._must_hold_back, check)

    def _must_hold_back(self) -> bool:
        """Whether a training loses what we use: where the kernel puts it first, what it leaves over costs nothing."""
        self._poll_when_due()
        return self._training_active and not self._preempted

    def _set_priority(self, *, paid_for: bool) -> None:
        """Compete for the processor only in a burst that training's budget pays for; else take what is left over."""
        if self._priority is not None:
            self._priority.set_priority(full=paid_for)

    def _snapshot(self) -> Snapshot:
        self._poll_when_due()
        now = self._clock()
        return Snapshot(
            training_active=self._training_active,
            working=self._activity.working,
            since=now - self._changed_at,
            step_seconds=self._budget.step_seconds,
            cost=self._budget.cost,
            budget=self._budget.remaining(self._underway(now)),
        )

    def _underway(self, now: float) -> list[Step]:
        """The training step that has not ended yet."""
        last_end = self._budget.last_end
        began = self._evaluation_began if last_end is None else last_end
        return [Step(now - began, self._activity.share_of(began, now, now))] if now > began else []

    def _set_working(self, *, working: bool) -> None:
        now = self._clock()
        if working == self._activity.working:
            return
        if working:
            self._activity.begin(now)
        else:
            self._activity.end(now)
        self._changed_at = now

    def _poll_when_due(self) -> None:
        if self._clock() - self._polled_at >= POLL_SECONDS:
            self._poll()

    def _poll(self) -> None:
        """Read the pace and attribute the steps that have ended since the last poll."""
        self._polled_at = now = self._clock()
        paces = [pace for path in self._paths if (pace := self._read(path)) is not None and pace.is_running(now)]
        self._training_active = bool(paces)
        self._preempted = self._priority is not None and all(self._priority.is_preempted_by(pace) for pace in paces)
        if not paces:
            return
        newest = max(paces, key=lambda pace: pace.written_at)
        last_end = self._budget.last_end
        self._budget.add(
            [
                AttributedStep(end, Step(end - begin, self._activity.share_of(begin, end, now)))
                for begin, end in newest.steps
                if end > begin and (last_end is None or end > last_end)
            ]
        )
