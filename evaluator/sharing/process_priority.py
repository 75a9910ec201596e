"""The priority of a worker beside training, and that it dies with its supervisor.

Linux shares the processor between sessions first (autogroup). A worker with a session of its own is held by that
session's weight, which may be changed at any time without privileges. It is low, except in the bursts that the governor
pays for from what training may lose (docs/decisions/cpu-share.md). Where sessions have no weight (containers, other
systems), and in a session that the training is in, too, the worker runs in the idle class, or at the lowest nice value,
and stays there: leaving the idle class takes privileges.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

from sidestep.shared.launch.processes import leads_session
from sidestep.shared.protocol.pace import Pace, process_space

_PR_SET_PDEATHSIG = 1
LOW_WEIGHT = 19  # as a nice value, the lowest: about a thirty-fifth of one busy processor of two
FULL_WEIGHT = 0
IDLE_CLASS = "SCHED_IDLE"

SESSION_WEIGHT = Path("/proc/self/autogroup")
SESSIONS_HAVE_WEIGHTS = Path("/proc/sys/kernel/sched_autogroup_enabled")
OWN_GROUPS = Path("/proc/self/cgroup")
GROUPS = Path("/sys/fs/cgroup")
PROCESSES = Path("/proc")


def die_with_parent(parent: int) -> None:
    """Ask the kernel to kill this process when its parent dies (Linux; elsewhere the closed pipe does it)."""
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before we asked
        os._exit(1)


class ProcessPriority:
    """This process's priority: low or, where its session's weight can be changed, full."""

    def __init__(self, description: str, session_weight: int | None = None) -> None:
        """``session_weight``: the weight that was set; None where there is none to set."""
        self.description = description
        self._weight = session_weight

    @classmethod
    def lower(cls) -> ProcessPriority:
        """Give this process a low priority, by its session's weight where it leads a session that has one."""
        if leads_session() and sessions_have_weights() and _write_session_weight(LOW_WEIGHT):
            return cls(f"a low session weight (nice {LOW_WEIGHT})", LOW_WEIGHT)
        return cls(_enter_idle_class())

    @property
    def can_change(self) -> bool:
        return self._weight is not None

    def set_priority(self, *, full: bool) -> None:
        """Compete like any other process, or leave the processor to whoever wants it, where that can be changed.

        The kernel takes ten changes a second; one that comes too soon is made at the next call.
        """
        wanted = FULL_WEIGHT if full else LOW_WEIGHT
        if self._weight not in (None, wanted) and _write_session_weight(wanted):
            self._weight = wanted

    def is_preempted_by(self, pace: Pace) -> bool:
        """Whether that training has the processor whenever it wants it, because this process is in the idle class.

        The kernel must compare the two directly, not their sessions or groups. False as well where the system does not
        tell.
        """
        if self.description != IDLE_CLASS or pace.process_space != process_space():
            return False
        training = PROCESSES / str(pace.process)
        with suppress(OSError):
            if _cpu_groups(OWN_GROUPS) != _cpu_groups(training / "cgroup"):
                return False
            return not sessions_have_weights() or _session(SESSION_WEIGHT) == _session(training / "autogroup")
        return False


def _write_session_weight(weight: int) -> bool:
    with suppress(OSError):
        SESSION_WEIGHT.write_text(str(weight))
        return True
    return False


def sessions_have_weights() -> bool:
    """Whether session weights count for this process: they do not inside a group of the cpu controller."""
    with suppress(OSError):
        return SESSIONS_HAVE_WEIGHTS.read_text().strip() == "1" and not _in_a_cpu_group(OWN_GROUPS.read_text())
    return False


def _in_a_cpu_group(own: str) -> bool:
    for line in own.splitlines():
        number, controllers, path = line.split(":", 2)
        if "cpu" in controllers.split(",") and path != "/":
            return True
        if number == "0" and path != "/" and (GROUPS / path.lstrip("/") / "cpu.weight").exists():
            return True
    return False


def _cpu_groups(cgroup: Path) -> list[str]:
    """The lines of a process's groups that may hold the cpu controller."""
    lines = [line.split(":", 2) for line in cgroup.read_text().splitlines()]
    return [path for number, controllers, path in lines if number == "0" or "cpu" in controllers.split(",")]


def _session(autogroup: Path) -> str:
    """The name in "/autogroup-12 nice 0"; empty for a process whose session is as old as the system."""
    return autogroup.read_text().partition(" ")[0].strip()


def _enter_idle_class() -> str:
    if hasattr(os, "SCHED_IDLE"):
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
            return IDLE_CLASS
    os.nice(19)
    return "nice 19"
