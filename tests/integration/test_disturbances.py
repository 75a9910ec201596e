"""Evaluations that are disturbed: out of memory, paused, cancelled, late, or beside a training that must not lose."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import torch

from sidestep.evaluator.cases.case import Message
from sidestep.evaluator.cases.exchange import Answer, Decoding, Request
from sidestep.evaluator.engine.transformers_engine import TransformersEngine, create
from sidestep.evaluator.settings import EngineSettings
from sidestep.shared.errors import DeadlinePassed, DeviceOutOfMemory
from sidestep.shared.protocol.pace import Pace, machine_name, process_space
from tests.fakes.expert import FakeExpert, read_until

PROJECT = Path(__file__).resolve().parents[2]
DECODING = Decoding(max_new_tokens=16)


@pytest.fixture(scope="module")
def engine() -> TransformersEngine:
    cache = Path(os.environ.get("SIDESTEP_CACHE") or PROJECT / ".cache") / "smollm2-135m-instruct"
    if not (cache / "READY").is_file():
        pytest.skip("the base model is not there: make model")
    return create(EngineSettings(str(cache), device="cpu"))


@pytest.fixture(scope="module")
def requests() -> list[Request]:
    cases = json.loads((PROJECT / "examples" / "shop" / "tests" / "test_cases.json").read_text())["test_cases"][:6]
    # Limits that differ, so that cases end one after the other.
    return [
        Request(case["id"], (Message("user", case["user_prompt"]),), max_new_tokens=4 + 3 * number)
        for number, case in enumerate(cases)
    ]


@pytest.fixture(scope="module")
def undisturbed(engine: TransformersEngine, requests: list[Request]) -> dict[str, str]:
    return answered(engine, requests, lambda tokens: None)


def answered(
    engine: TransformersEngine, requests: Sequence[Request], hook: Callable[[int], None], plan: Sequence[Request] = ()
) -> dict[str, str]:
    found: dict[str, str] = {}

    def keep(answer: Answer) -> None:
        assert answer.case_id not in found, "answered twice"
        found[answer.case_id] = answer.text

    engine.answer(requests, DECODING, keep, hook, plan)
    return found


def raising(error: type[Exception], at: int, times: int = 1) -> Callable[[int], None]:
    """A hook that raises at its ``at``-th call, and at the next ones until it has done so ``times`` times."""
    calls = 0

    def hook(tokens: int) -> None:
        nonlocal calls, times
        calls += 1
        if calls >= at and times > 0:
            times -= 1
            raise error("injected")

    return hook


@pytest.mark.model
@pytest.mark.parametrize("at", [1, 5, 12])
def test_out_of_memory_in_the_middle_changes_no_answer(
    engine: TransformersEngine, requests: list[Request], undisturbed: dict[str, str], at: int
) -> None:
    assert answered(engine, requests, raising(torch.OutOfMemoryError, at)) == undisturbed


@pytest.mark.model
def test_out_of_memory_for_ever_is_an_error_and_the_engine_recovers(
    engine: TransformersEngine, requests: list[Request], undisturbed: dict[str, str]
) -> None:
    with pytest.raises(DeviceOutOfMemory):
        answered(engine, requests, raising(torch.OutOfMemoryError, 1, times=100))
    assert answered(engine, requests, lambda tokens: None) == undisturbed


@pytest.mark.model
@pytest.mark.parametrize("error", [DeadlinePassed, KeyboardInterrupt])
def test_deadline_and_cancel_end_it_and_the_rest_can_follow(
    engine: TransformersEngine, requests: list[Request], undisturbed: dict[str, str], error: type[Exception]
) -> None:
    first: dict[str, str] = {}

    def keep(answer: Answer) -> None:
        first[answer.case_id] = answer.text

    def hook(tokens: int) -> None:
        if len(first) >= 2:
            raise error("injected")

    with pytest.raises(error):
        engine.answer(requests, DECODING, keep, hook)
    left = [request for request in requests if request.case_id not in first]
    if left:
        first |= answered(engine, left, lambda tokens: None, plan=requests)
    assert first == undisturbed


@pytest.mark.model
def test_a_pause_changes_no_answer(
    engine: TransformersEngine, requests: list[Request], undisturbed: dict[str, str]
) -> None:
    pauses = 0

    def hook(tokens: int) -> None:
        nonlocal pauses
        pauses += 1
        torch.randn(64, 64) @ torch.randn(64, 64)  # somebody else works meanwhile
        threading.Event().wait(0.01)

    assert answered(engine, requests, hook) == undisturbed
    assert pauses > 1


@pytest.mark.model
def test_half_of_the_threads_change_no_answer(
    engine: TransformersEngine, requests: list[Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = torch.get_num_threads()
    monkeypatch.setattr(engine, "_threads", 2)
    try:
        engine.set_training_active(False)
        assert torch.get_num_threads() == 2
        alone = answered(engine, requests[:2], lambda tokens: None)
        engine.set_training_active(True)
        assert torch.get_num_threads() == 1
        assert answered(engine, requests[:2], lambda tokens: None) == alone
    finally:
        torch.set_num_threads(before)


@pytest.fixture
def expert(tmp_path: Path) -> Iterator[FakeExpert]:
    with FakeExpert.create(tmp_path / "expert") as expert:
        yield expert


def leave_pace(expert: FakeExpert) -> None:
    """What a training leaves that has made 100 steps of a second each, and is alive."""
    now = time.monotonic()
    steps = tuple((now - 100 + n, now - 99 + n) for n in range(100))
    pace = Pace(
        machine=machine_name(), process=os.getpid(), process_space=process_space(), training=True,
        written_at=now + 600,  # alive for as long as the test takes
        steps=steps,
    )  # fmt: skip
    expert.model.pace.write_bytes(pace.to_bytes())


def test_a_deadline_is_one_outcome_with_its_reason_and_a_rerun_makes_up_for_it(expert: FakeExpert) -> None:
    expert.publish(10, 20)
    expert.script(late_after={"10": 2})
    expert.run("watch", "--once", "--deadline", "1800")
    assert expert.outcomes() == {"base": "evaluated", "checkpoint-10": "error", "checkpoint-20": "evaluated"}
    assert "deadline of 1800 s" in expert.report("checkpoint-10")["reason"]
    assert len([line for line in expert.answered() if line.startswith("10 ")]) == 2  # and no second attempt
    expert.script()
    expert.run("rerun", "--checkpoints", "10", "--force")
    assert expert.outcomes()["checkpoint-10"] == "evaluated"


def test_a_stop_in_the_middle_of_a_rest_ends_at_once_and_keeps_what_is_finished(expert: FakeExpert) -> None:
    expert.publish(10)
    expert.hold.touch()
    expert.script(hold_after={"10": 2})
    leave_pace(expert)
    process = expert.start("watch", "--max-slowdown", "0.000001")
    read_until(process, "resting")
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 0
    expert.hold.unlink()
    before = len(expert.answered())
    expert.model.pace.unlink()
    expert.run("watch", "--once")
    assert [line for line in expert.answered()[before:] if line.startswith("10 ")] == ["10 case-3", "10 case-4"]


def test_a_report_says_what_was_seen_of_the_training_beside_it(expert: FakeExpert) -> None:
    expert.publish(10)
    leave_pace(expert)
    expert.run("watch", "--once")
    sharing = expert.report("checkpoint-10")["sharing"]
    assert sharing["run"]["steps_alone"] == 100


def test_without_a_training_nothing_is_said_and_nothing_rests(expert: FakeExpert) -> None:
    expert.publish(10)
    expert.run("watch", "--once", "--max-slowdown", "0.000001")
    sharing = expert.report("checkpoint-10")["sharing"]
    assert sharing["slowdown"] is None and sharing["rested_seconds"] == 0
