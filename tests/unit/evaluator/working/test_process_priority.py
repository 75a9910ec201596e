"""The worker's share of the processor, where sessions have weights and where they do not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from evaluator.working import process_priority as priority


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A kernel's files, with sessions that have weights."""
    for name, text in (("SESSION_WEIGHT", "0"), ("SESSIONS_HAVE_WEIGHTS", "1\n"), ("OWN_GROUPS", "0::/\n")):
        (tmp_path / name).write_text(text)
        monkeypatch.setattr(priority, name, tmp_path / name)
    monkeypatch.setattr(priority, "GROUPS", tmp_path / "groups")
    monkeypatch.setattr(priority, "_idle_class", lambda: "the idle class")
    return tmp_path


def weight(kernel: Path) -> str:
    return (kernel / "SESSION_WEIGHT").read_text()


def test_a_session_weight_can_be_raised_for_a_burst(kernel: Path) -> None:
    share = priority.ProcessorShare()
    assert share.can_change and weight(kernel) == "19"
    share.full()
    assert weight(kernel) == "0"
    share.low()
    assert weight(kernel) == "19"


def test_without_session_weights_the_idle_class_is_all_there_is(kernel: Path) -> None:
    (kernel / "SESSIONS_HAVE_WEIGHTS").write_text("0\n")
    share = priority.ProcessorShare()
    assert not share.can_change and share.words == "the idle class"
    share.full()
    assert weight(kernel) == "0"  # untouched


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
    assert priority.sessions_have_weights() is expected


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="scheduling classes are Linux's")
def test_a_real_process_gives_way() -> None:
    code = (
        "import os; from evaluator.working.process_priority import ProcessorShare; s = ProcessorShare();"
        "print(s.can_change or os.sched_getscheduler(0) == os.SCHED_IDLE or os.nice(0) == 19)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, start_new_session=True)
    assert done.stdout.strip() == "True", done.stderr
