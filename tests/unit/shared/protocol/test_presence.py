"""The file by which an evaluator says that it is there: written when due, believed while fresh, removed at the end."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

from sidestep.shared.protocol.layout import ReportsFolder
from sidestep.shared.protocol.presence import Presence, PresenceFile, evaluators_present, presence_folder


def test_presence_is_written_when_due_and_ages(tmp_path: Path) -> None:
    reports, now = ReportsFolder(tmp_path), [1000.0]
    file = PresenceFile(reports, lambda: now[0])
    file.update(state="waiting")
    assert evaluators_present(reports) == []  # said long ago, by the real clock
    assert len(evaluators_present(reports, max_age=1e12)) == 1
    now[0] += 1
    file.update()
    assert evaluators_present(reports, max_age=1e12)[0].updated_at == 1000.0
    file.update(state="evaluating", checkpoint="checkpoint-1")
    assert evaluators_present(reports, max_age=1e12)[0].updated_at == 1001.0
    file.remove()
    assert evaluators_present(reports, max_age=1e12) == []


def test_what_killed_evaluators_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    reports, host = ReportsFolder(tmp_path), socket.gethostname()
    folder = presence_folder(reports)
    folder.mkdir()
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    dead, alive, elsewhere = (f"{host}-{process.pid}.json", f"{host}-{os.getppid()}.json", "elsewhere-1.json")
    for name in (dead, alive, elsewhere):
        (folder / name).write_text("{}")
    file = PresenceFile(reports)
    assert len(list(folder.iterdir())) == 3
    file.remove_files_of_dead()
    assert {path.name for path in folder.iterdir()} == {alive, elsewhere}


def test_what_is_not_a_presence_counts_for_nobody(tmp_path: Path) -> None:
    folder = presence_folder(ReportsFolder(tmp_path))
    folder.mkdir()
    (folder / "half.json").write_text('{"host": "a", "pid"')
    (folder / "other.json").write_text('{"host": 3}')
    assert evaluators_present(ReportsFolder(tmp_path), max_age=1e12) == []


def test_cases_of_an_earlier_attempt_do_not_count_as_fast() -> None:
    presence = Presence("h", 1, 0.0, 0.0, cases_done=30, cases_kept=10, began_at=100.0)
    assert presence.cases_per_second(104.0) == 5.0
    assert presence.cases_per_second(100.0) is None
