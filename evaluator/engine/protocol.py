"""What the worker asks of an engine, and what every engine (the real one and the test one) must offer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from sidestep.evaluator.cases.exchange import Answer, Decoding, EngineInfo, Request

OnAnswer = Callable[[Answer], None]
OnStep = Callable[[int], None]  # between decoding steps, with the tokens produced so far; raises to cancel


class Engine(Protocol):
    """A resident base model that becomes one checkpoint after another."""

    @property
    def info(self) -> EngineInfo:
        """What the answers depend on; does not change while the engine lives."""
        ...

    def attach(self, folder: Path) -> None:
        """Merge the adapter (or copy the full weights) in ``folder`` into the base.

        Raises CheckpointRejected for what must not or cannot be loaded, BaseModelMismatch for what does not fit this
        base model, CheckpointVanished when files disappear, DeviceOutOfMemory, or EngineError.
        """
        ...

    def detach(self) -> None:
        """Restore the base bit for bit; without effect when nothing is attached."""
        ...

    def set_training_active(self, active: bool) -> None:
        """Say whether a training runs on this machine: on a CPU half of the threads then do more than all of them."""
        ...

    def park(self) -> None:
        """Leave the device until the next ``attach`` or ``answer``; detaches. Without effect on the CPU."""
        ...

    def answer(
        self,
        requests: Sequence[Request],
        decoding: Decoding,
        on_answer: OnAnswer,
        on_step: OnStep,
        plan_for: Sequence[Request] = (),
    ) -> None:
        """Answer all requests; ``on_answer`` gets every answer as soon as it is finished, in any order.

        Answers depend on checkpoint, request and decoding alone, not on which other requests are in the batch.
        ``plan_for`` is the whole suite when ``requests`` is what an interrupted evaluation left of it: the plan is made
        for all of it. Raises DeviceOutOfMemory when not even one case fits, and whatever ``on_step`` raises.
        """
        ...
