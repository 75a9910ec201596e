"""The worker's share of the processor, where sessions have weights and where they do not."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from sidestep.evaluator.sharing import process_priority
from sidestep.evaluator.sharing.process_priority import ProcessPriority
from sidestep.shared.launch.processes import NEW_GROUP, NEW_SESSION, ProcessGrouping
from sidestep.shared.protocol.pace import Pace, process_space


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A kernel's files, with sessions that have weights."""
    for name, text in (("SESSION_WEIGHT", "0"), ("SESSIONS_HAVE_WEIGHTS", "1\n"), ("OWN_GROUPS", "0::/\n")):
        (tmp_path / name).write_text(text)
        monkeypatch.setattr(process_priority, name, tmp_path / name)
    monkeypatch.setattr(process_priority, "GROUPS", tmp_path / "groups")
    monkeypatch.setattr(process_priority, "PROCESSES", tmp_path)
    monkeypatch.setattr(process_priority, "_enter_idle_class", lambda: process_priority.IDLE_CLASS)
    monkeypatch.setattr(process_priority, "leads_session", lambda: True)
    return tmp_path


def weight(kernel: Path) -> str:
    return (kernel / "SESSION_WEIGHT").read_text()


def test_a_session_weight_can_be_raised_for_a_burst(kernel: Path) -> None:
    priority = ProcessPriority.lower()
    assert priority.can_change and weight(kernel) == "19"
    priority.set_priority(full=True)
    assert weight(kernel) == "0"
    priority.set_priority(full=False)
    assert weight(kernel) == "19"


def test_without_session_weights_the_idle_class_is_all_there_is(kernel: Path) -> None:
    (kernel / "SESSIONS_HAVE_WEIGHTS").write_text("0\n")
    priority = ProcessPriority.lower()
    assert not priority.can_change and priority.description == process_priority.IDLE_CLASS
    priority.set_priority(full=True)
    assert weight(kernel) == "0"  # untouched


def test_a_session_that_is_not_its_own_is_left_alone(kernel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_priority, "leads_session", lambda: False)
    priority = ProcessPriority.lower()
    assert not priority.can_change and priority.description == process_priority.IDLE_CLASS
    assert weight(kernel) == "0"


def autogroup(session: str) -> str:
    """What the kernel shows: nothing for a session as old as the system (or, in some containers, as the container)."""
    return f"/autogroup-{session} nice 0\n" if session else ""


def training(kernel: Path, session: str, groups: str = "0::/\n") -> Pace:
    """The pace of a process of a session and groups."""
    (kernel / "7").mkdir()
    (kernel / "7" / "autogroup").write_text(autogroup(session))
    (kernel / "7" / "cgroup").write_text(groups)
    return Pace(machine="here", process=7, process_space=process_space(), written_at=0, training=True)


@pytest.mark.parametrize(
    ("own", "session", "groups", "weights", "expected"),
    [
        ("1", "1", "0::/\n", "1", True),
        ("1", "2", "0::/\n", "1", False),  # shared between sessions first
        ("1", "2", "0::/\n", "0", True),
        ("", "", "0::/\n", "1", True),  # both older than sessions with a weight
        ("", "1", "0::/\n", "1", False),
        ("1", "", "0::/\n", "1", False),
        ("1", "1", "0::/system.slice/docker-1.scope\n", "1", False),  # another container
        ("1", "1", "9:memory:/mine\n1:cpu:/\n0::/\n", "1", False),  # other groups than ours, as far as is known
    ],
)
def test_when_the_idle_class_gives_way_to_training(
    kernel: Path, monkeypatch: pytest.MonkeyPatch, own: str, session: str, groups: str, weights: str, expected: bool
) -> None:
    monkeypatch.setattr(process_priority, "leads_session", lambda: False)
    (kernel / "SESSION_WEIGHT").write_text(autogroup(own))
    (kernel / "SESSIONS_HAVE_WEIGHTS").write_text(weights)
    assert ProcessPriority.lower().is_preempted_by(training(kernel, session, groups)) is expected


def test_it_gives_way_to_nobody_else(kernel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pace = training(kernel, "1")
    assert not ProcessPriority.lower().is_preempted_by(pace)  # has a small part by its session's weight, always
    monkeypatch.setattr(process_priority, "leads_session", lambda: False)
    (kernel / "SESSION_WEIGHT").write_text("/autogroup-1 nice 0\n")
    priority = ProcessPriority.lower()
    assert priority.is_preempted_by(pace)
    assert not priority.is_preempted_by(replace(pace, process=8))  # gone
    assert not priority.is_preempted_by(replace(pace, process_space="another container"))


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ("0::/\n", True),
        ("12:cpu,cpuacct:/\n0::/\n", True),
        ("12:cpu,cpuacct:/docker/1\n0::/\n", False),  # a container, version 1
        ("0::/system.slice/docker-1.scope\n", False),  # a container, version 2
        ("0::/user.slice/session-2.scope\n", True),  # no cpu controller there
        ("3:cpuset:/docker/1\n1:cpu:/\n", True),
    ],
)
def test_groups_of_the_cpu_controller_take_session_weights_away(kernel: Path, groups: str, expected: bool) -> None:
    controlled = kernel / "groups" / "system.slice" / "docker-1.scope"
    controlled.mkdir(parents=True)
    (controlled / "cpu.weight").write_text("100")
    (kernel / "OWN_GROUPS").write_text(groups)
    assert process_priority.sessions_have_weights() is expected


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="scheduling classes are Linux's")
def test_a_real_process_gives_way() -> None:
    code = (
        "import os; from sidestep.evaluator.sharing.process_priority import ProcessPriority;"
        "s = ProcessPriority.lower();"
        "print(s.can_change or os.sched_getscheduler(0) == os.SCHED_IDLE or os.nice(0) == 19)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, start_new_session=True)
    assert done.stdout.strip() == "True", done.stderr


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="scheduling classes are Linux's")
@pytest.mark.parametrize("grouping", [NEW_GROUP, NEW_SESSION])
def test_a_real_process_gives_way_to_one_of_its_session(grouping: ProcessGrouping) -> None:
    expected = grouping != NEW_SESSION or not process_priority.sessions_have_weights()
    code = (
        "import sys; from sidestep.evaluator.sharing.process_priority import ProcessPriority;"
        "from sidestep.shared.protocol.pace import *;"
        "pace = Pace(machine='', process=int(sys.argv[1]), process_space=process_space(), written_at=0, training=True);"
        "print(ProcessPriority.lower().is_preempted_by(pace))"
    )
    command = [sys.executable, "-c", code, str(os.getpid())]
    done = subprocess.run(command, capture_output=True, text=True, check=False, **grouping)
    assert done.stdout.strip() == str(expected), done.stderr
