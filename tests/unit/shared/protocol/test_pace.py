"""The pace file: what a trainer leaves, and when an evaluator believes that a training is running."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from sidestep.shared.protocol.layout import ModelFolder, checkpoint_step
from sidestep.shared.protocol.pace import Pace, PaceFile, machine_name, process_space, read_pace


def written(model: Path, steps: int) -> Pace:
    with PaceFile(ModelFolder(model).pace) as file:
        for _ in range(steps):
            file.note_step()
    pace = read_pace(ModelFolder(model).pace)
    assert pace is not None
    return pace


def test_steps_are_left_and_the_end_is_said(tmp_path: Path) -> None:
    pace = written(tmp_path, 3)
    assert len(pace.steps) == 3
    assert all(begin <= end for begin, end in pace.steps)
    assert not pace.training and not pace.is_running(time.monotonic())
    assert [path.name for path in tmp_path.iterdir()] == [".pace.json"]
    assert checkpoint_step(".pace.json") is None


def test_only_recent_steps_are_kept(tmp_path: Path) -> None:
    assert len(written(tmp_path, 2000).steps) == 512


def test_a_save_between_two_steps_belongs_to_neither(tmp_path: Path) -> None:
    now = [0.0]
    with PaceFile(ModelFolder(tmp_path).pace, clock=lambda: now[0]) as file:
        now[0] = 1.0
        file.note_step()
        now[0] = 5.0
        file.note_pause()
        now[0] = 6.0
        file.note_step()
    pace = read_pace(ModelFolder(tmp_path).pace)
    assert pace is not None and pace.steps == ((0.0, 1.0), (5.0, 6.0))


def test_nothing_is_written_and_no_thread_runs_before_the_start(tmp_path: Path) -> None:
    before = threading.active_count()
    file = PaceFile(ModelFolder(tmp_path).pace)
    assert threading.active_count() == before
    file.close()
    assert list(tmp_path.iterdir()) == []


def test_closing_does_not_wait_for_the_next_write(tmp_path: Path) -> None:
    before = threading.active_count()
    written(tmp_path, 1)
    assert threading.active_count() == before


def test_a_folder_that_cannot_be_written_disturbs_nobody(tmp_path: Path) -> None:
    with PaceFile(tmp_path / "missing" / ".pace.json") as file:
        file.note_step()
    assert not (tmp_path / "missing").exists()


def pace_now(**changes: object) -> Pace:
    now = time.monotonic()
    values: dict[str, Any] = {
        "machine": machine_name(), "process": 1, "process_space": process_space(), "written_at": now,
        "training": True, "steps": ((now - 2, now - 1),),
    }  # fmt: skip
    return Pace(**{**values, **changes})


def test_a_fresh_pace_is_a_running_training() -> None:
    assert pace_now().is_running(time.monotonic())


@pytest.mark.parametrize(
    "changes",
    [
        {"training": False},
        {"machine": "another"},
        {"written_at": time.monotonic() - 60},
        {"steps": ((0.0, time.monotonic() - 4000),)},
    ],
)
def test_a_stale_or_foreign_pace_is_none(changes: dict[str, object]) -> None:
    assert not pace_now(**changes).is_running(time.monotonic())


def test_a_trainer_that_was_killed_is_noticed_at_once() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert not pace_now(process=process.pid).is_running(time.monotonic())
    assert pace_now(process=process.pid, process_space="of another container").is_running(time.monotonic())


@pytest.mark.parametrize("content", [b"", b"{", b'{"steps": 3}', b"[]", b"\x00" * 100])
def test_anything_else_is_no_pace(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / ".pace.json"
    path.write_bytes(content)
    assert read_pace(path) is None
    assert read_pace(tmp_path / "missing") is None


def test_a_link_or_a_fifo_is_no_pace(tmp_path: Path) -> None:
    import os

    written(tmp_path, 1)
    (tmp_path / "link").symlink_to(tmp_path / ".pace.json")
    os.mkfifo(tmp_path / "fifo")
    assert read_pace(tmp_path / "link") is None and read_pace(tmp_path / "fifo") is None
