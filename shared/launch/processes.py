"""Process groups and sessions: children that a signal to our own group does not reach, and whose session we are in."""

from __future__ import annotations

import os
import sys
from typing import TypedDict


class Apart(TypedDict, total=False):
    """Arguments of subprocess.Popen."""

    start_new_session: bool
    process_group: int


OWN_SESSION: Apart = {"start_new_session": True}


def own_group() -> Apart:
    """A process group of its own in our session; before Python 3.11 a session of its own."""
    return {"process_group": 0} if sys.version_info >= (3, 11) else OWN_SESSION


def leads_session() -> bool:
    """Whether this process's session is its own; where there are no sessions, it is."""
    return not hasattr(os, "getsid") or os.getsid(0) == os.getpid()
