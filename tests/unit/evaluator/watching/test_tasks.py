"""What is to be done, in which order, and what counts as done."""

from __future__ import annotations

from pathlib import Path

import pytest

from sidestep.evaluator.watching.scan import Candidate
from sidestep.evaluator.watching.tasks import Conditions, pending_tasks
from sidestep.shared.commands.choices import Order
from sidestep.shared.protocol.identity import CheckpointKey, Identity

CONDITIONS = Conditions("suite", "decoding")


def _candidate(step: int, *, model: str = "tiny", skipped: str | None = None) -> Candidate:
    return Candidate(CheckpointKey(model, step, f"hash-{step}"), () if skipped else (Path("x"),), skipped=skipped)


@pytest.mark.parametrize(("order", "steps"), [(Order.NEWEST, [5, 30, 20, 10]), (Order.OLDEST, [5, 10, 20, 30])])
def test_order_of_work(order: Order, steps: list[int]) -> None:
    candidates = [_candidate(20), _candidate(10), _candidate(30), _candidate(5, skipped="gone")]
    tasks = pending_tasks(candidates, CONDITIONS, set(), order)
    assert [task.identity.key.step for task in tasks] == steps  # what needs only a note comes first


def test_what_has_an_outcome_is_not_pending() -> None:
    done = {CONDITIONS.task(_candidate(10)).identity.id}
    tasks = pending_tasks([_candidate(10), _candidate(20)], CONDITIONS, done, Order.NEWEST)
    assert [task.identity.key.step for task in tasks] == [20]
    other = Conditions("another suite", "decoding")
    assert len(pending_tasks([_candidate(10)], other, done, Order.NEWEST)) == 1


def test_base_is_done_by_name_until_the_engine_can_tell() -> None:
    task = CONDITIONS.base_task("tiny", "f" * 64)
    assert CONDITIONS.has_base("tiny", [task.identity])
    assert not CONDITIONS.has_base("other", [task.identity])
    assert not Conditions("another", "decoding").has_base("tiny", [task.identity])


def test_identities_differ_in_every_part() -> None:
    parts: list[tuple[str, int | None, str, str, str]] = [
        ("a", 1, "b", "c", "d"), ("x", 1, "b", "c", "d"), ("a", 2, "b", "c", "d"), ("a", None, "b", "c", "d"),
        ("a", 1, "x", "c", "d"), ("a", 1, "b", "x", "d"), ("a", 1, "b", "c", "x"),
    ]  # fmt: skip
    identities = {Identity(CheckpointKey(*part[:3]), *part[3:]).id for part in parts}
    assert len(identities) == len(parts)
