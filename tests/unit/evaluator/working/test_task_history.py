"""What a run remembers of its tasks."""

from __future__ import annotations

from pathlib import Path

from sidestep.evaluator.watching.scan import Candidate
from sidestep.evaluator.watching.tasks import Conditions
from sidestep.evaluator.working.task_history import TaskHistory
from sidestep.shared.protocol.identity import CheckpointKey

TASK = Conditions("suite", "decoding").task(Candidate(CheckpointKey("tiny", 10, "h"), (Path("x"),)), forced=True)


def test_a_failed_task_waits_before_it_is_tried_again() -> None:
    now = [100.0]
    history = TaskHistory(5.0, lambda: now[0])
    assert not history.is_deferred("a")
    history.defer("a")
    now[0] += 4.9
    assert history.is_deferred("a") and not history.is_deferred("b")
    now[0] += 0.1
    assert not history.is_deferred("a")


def test_only_the_first_attempt_of_a_run_is_the_first() -> None:
    history = TaskHistory(5.0)
    assert history.begin(TASK)
    assert not history.begin(TASK)
    assert not history.is_ended(TASK)
    history.end(TASK)
    assert history.is_ended(TASK)
