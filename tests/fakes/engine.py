"""An engine that answers from a table: a real implementation of the protocol, without a model.

Its behaviour comes from the JSON file that SIDESTEP_FAKE_ENGINE names, read anew for every checkpoint:
    {"answers": {"<step or base>": {"<case id>": "text"}},  default: the step
     "hold_after": {"<step or base>": N},      wait after N answers until the file HOLD is deleted
     "late_after": {"<step or base>": N},      after N answers the worker's clock goes forward by an hour
     "die": ["<step>", ...],                   kill the process at the first answer
     "fail": {"<step>": "rejected|vanished|unfit|attempt|bug"},
     "log": "path"}                            one line per answered case
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sidestep.evaluator.cases.exchange import Answer, Decoding, EngineInfo, Request
from sidestep.evaluator.engine.protocol import OnAnswer, OnStep
from sidestep.evaluator.settings import EngineSettings
from sidestep.shared.errors import (
    BaseModelError,
    BaseModelMismatch,
    CheckpointRejected,
    CheckpointVanished,
    EngineError,
)

SCRIPT_VARIABLE = "SIDESTEP_FAKE_ENGINE"
HOLD_SECONDS = 300.0  # a test that forgets to let go must end


class FakeEngine:
    """See sidestep.evaluator.engine.protocol.Engine."""

    def __init__(self, settings: EngineSettings) -> None:
        if settings.base_model.endswith("broken"):
            raise BaseModelError(f"{settings.base_model} cannot be loaded")
        self.info = EngineInfo(
            base_model=settings.base_model, base_fingerprint="f" * 64, device="cpu", dtype="float32",
            versions={"fake": "1"}, exact=True,
        )  # fmt: skip
        self._attached = "base"

    def attach(self, folder: Path) -> None:
        step = str(json.loads((folder / "trainer_state.json").read_text())["global_step"])
        failure = _script().get("fail", {}).get(step)
        if failure == "rejected":
            raise CheckpointRejected("the table says so")
        if failure == "unfit":
            raise BaseModelMismatch("the adapter does not fit the base model: the table says so")
        if failure == "vanished":
            raise CheckpointVanished("the table says so")
        if failure == "attempt":
            raise EngineError("the table says so")
        if failure == "bug":
            raise RuntimeError("the table says so")
        self._attached = step

    def detach(self) -> None:
        self._attached = "base"

    def set_training_active(self, active: bool) -> None:
        pass

    def park(self) -> None:
        self._attached = "base"

    def answer(
        self,
        requests: Sequence[Request],
        decoding: Decoding,
        on_answer: OnAnswer,
        on_step: OnStep,
        plan_for: Sequence[Request] = (),
    ) -> None:
        script = _script()
        answers = script.get("answers", {}).get(self._attached, {})
        hold_after = script.get("hold_after", {}).get(self._attached)
        late_after = script.get("late_after", {}).get(self._attached)
        for number, request in enumerate(requests):
            on_step(number)
            if self._attached in script.get("die", []):
                os.kill(os.getpid(), signal.SIGKILL)
            if number == late_after:
                _clock.offset += 3600
                on_step(number)
            if number == hold_after:
                _hold(Path(script["hold"]), on_step, number)
            _log(script, f"{self._attached} {request.case_id}")
            text = answers.get(request.case_id, self._attached)
            on_answer(Answer(request.case_id, text, 3, len(text.split()), "stop", 0.001))


class _Clock:
    """One that can be set forward: nobody has to wait for a deadline, nor to be faster than it."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self.offset = 0.0

    def __call__(self) -> float:
        return self._monotonic() + self.offset


_clock = _Clock(time.monotonic)


def create(settings: EngineSettings) -> FakeEngine:
    """Called in the worker's process before its worker is made, which then takes this clock for the real one."""
    time.monotonic = _clock
    return FakeEngine(settings)


def _script() -> dict[str, Any]:
    path = os.environ.get(SCRIPT_VARIABLE)
    loaded: dict[str, Any] = json.loads(Path(path).read_text()) if path else {}
    return loaded


def _hold(path: Path, on_step: OnStep, number: int) -> None:
    """Stay in the middle of an evaluation until ``path`` is deleted. Raises RuntimeError when it never is."""
    deadline = time.monotonic() + HOLD_SECONDS
    while path.exists():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{path} was not deleted within {HOLD_SECONDS:.0f} s")
        time.sleep(0.02)
        if not path.name.endswith(".silent"):
            on_step(number)


def _log(script: dict[str, Any], line: str) -> None:
    if "log" in script:
        with Path(script["log"]).open("a") as file:
            file.write(line + "\n")
