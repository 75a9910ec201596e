"""Keeping a worker out of the way: it dies with its supervisor, and takes only the CPU time training leaves.

Measured on two cores beside a training (docs/benchmarks.md): SCHED_IDLE costs training least and the evaluation
nothing; where the platform lacks it, the lowest nice value is the nearest equivalent.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int) -> None:
    """Ask the kernel to kill this process when its parent dies (Linux; elsewhere the closed pipe does it)."""
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before we asked
        os._exit(1)


def yield_cpu() -> str:
    """Run only when nobody else wants the CPU; returns what was done, in words."""
    if hasattr(os, "SCHED_IDLE"):
        try:
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        except OSError:
            pass
        else:
            return "SCHED_IDLE"
    os.nice(19)
    return "nice 19"
