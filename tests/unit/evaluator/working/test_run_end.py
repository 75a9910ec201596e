"""When a run ends by itself: decisions over a clock and a pipe of the test's own."""

from __future__ import annotations

import os

import pytest

from sidestep.evaluator.working.run_end import EndCondition, RunEnd


@pytest.mark.parametrize(
    ("condition", "has_tasks", "settling", "after", "expected"),
    [
        (EndCondition(), False, False, 1e9, False),  # never by itself
        (EndCondition(single_pass=True), False, False, 0.0, True),
        (EndCondition(single_pass=True), True, False, 0.0, False),  # something waits for its next attempt
        (EndCondition(single_pass=True), False, True, 0.0, False),  # something may turn out to be work
        (EndCondition(idle_seconds=5.0), False, False, 4.9, False),
        (EndCondition(idle_seconds=5.0), False, False, 5.0, True),
        (EndCondition(idle_seconds=5.0), True, False, 9.0, False),  # others evaluate
    ],
)
def test_when_a_run_ends(
    condition: EndCondition, has_tasks: bool, settling: bool, after: float, expected: bool
) -> None:
    now = [100.0]
    end = RunEnd(condition, lambda: now[0])
    now[0] += after
    last_scan = end.is_last_scan()
    assert end.is_reached(has_tasks=has_tasks, settling=settling, last_scan=last_scan) is expected


def test_work_and_settling_begin_the_idle_time_again() -> None:
    now = [0.0]
    end = RunEnd(EndCondition(idle_seconds=5.0), lambda: now[0])
    now[0] = 4.0
    end.note_work()
    now[0] = 8.0
    assert not end.is_reached(has_tasks=False, settling=True, last_scan=False)
    now[0] = 12.9
    assert not end.is_reached(has_tasks=False, settling=False, last_scan=False)
    now[0] = 13.0
    assert end.is_reached(has_tasks=False, settling=False, last_scan=False)


def test_a_closed_drain_makes_the_next_scan_the_last_one() -> None:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    with os.fdopen(reading, "rb", buffering=0) as drain:
        end = RunEnd(EndCondition(drain=drain))
        assert not end.is_last_scan()
        assert end.wake_sources() == (drain,)
        os.close(writing)
        assert end.is_last_scan() and end.is_last_scan()
        assert end.wake_sources() == ()  # it would wake us for ever


def test_the_next_scan_is_due_no_later_than_what_may_end_the_run() -> None:
    assert RunEnd(EndCondition()).longest_wait(5.0, settling=False) == 5.0
    assert RunEnd(EndCondition(idle_seconds=2.0)).longest_wait(5.0, settling=False) == 2.0
    assert RunEnd(EndCondition(idle_seconds=2.0)).longest_wait(5.0, settling=True) == 1.0
