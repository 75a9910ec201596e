"""Keeping a worker out of the way: it dies with its supervisor, and takes only the CPU time training leaves.

SCHED_IDLE costs training least; where the platform lacks it, the lowest nice value is the nearest equivalent.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

_PR_SET_PDEATHSIG = 1
# About a twenty-fifth of a busy processor. At 10 a two-threaded training step took four times as long, because its
# threads wait for each other; at 19 nothing landed before training ended (docs/decisions/cpu-share.md).
SESSION_NICE = 14


def die_with_parent(parent: int) -> None:
    """Ask the kernel to kill this process when its parent dies (Linux; elsewhere the closed pipe does it)."""
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before we asked
        os._exit(1)


def yield_cpu() -> str:
    """Run only when nobody else wants the CPU; returns what was done, in words.

    Linux schedules each session as a group of its own (autogroup), and SCHED_IDLE counts only inside the group: a
    worker in its own session would still get half of the machine. So the group is given a low weight, too.
    """
    done = _idle_class()
    with suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(SESSION_NICE))
        done += f", session weight of nice {SESSION_NICE}"
    return done


def _idle_class() -> str:
    if hasattr(os, "SCHED_IDLE"):
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
            return "SCHED_IDLE"
    os.nice(19)
    return "nice 19"
