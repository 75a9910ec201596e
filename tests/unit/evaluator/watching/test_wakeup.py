"""Waking up: at once when notified, when a pipe can be read, and by the clock without either."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from sidestep.evaluator.watching.wakeup import Wakeup, Watcher, wait_for_any
from sidestep.shared.protocol.place import find_place

NEVER = 3600.0
pytestmark = pytest.mark.timeout(60)


def test_a_notification_ends_the_wait_that_goes_on_or_the_next_one() -> None:
    with Wakeup() as wakeup:
        wakeup.notify()
        wakeup.notify()
        wait_for_any(wakeup, (), NEVER)
        thread = threading.Thread(target=wakeup.notify)
        thread.start()
        wait_for_any(wakeup, (), NEVER)
        thread.join()
        wait_for_any(wakeup, (), 0.0)  # both are forgotten


def test_outside_the_block_a_notification_has_no_effect() -> None:
    wakeup = Wakeup()
    wakeup.notify()
    with wakeup:
        pass
    wakeup.notify()


def test_a_closed_pipe_ends_the_wait() -> None:
    reading, writing = os.pipe()
    with Wakeup() as wakeup, os.fdopen(reading, "rb", buffering=0) as pipe:
        os.close(writing)
        wait_for_any(wakeup, (pipe,), NEVER)


def test_a_new_folder_wakes_whoever_waits_also_below_one_that_came_later(tmp_path: Path) -> None:
    place = find_place(tmp_path / "weights")
    place.root.mkdir()
    with Wakeup() as wakeup, Watcher(place, wakeup) as watcher:
        watcher.watch_new_folders()
        (place.root / "tiny").mkdir()
        wait_for_any(wakeup, (), NEVER)
        watcher.watch_new_folders()
        (place.root / "tiny" / "checkpoint-10").mkdir()
        wait_for_any(wakeup, (), NEVER)
