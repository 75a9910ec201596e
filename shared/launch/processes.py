"""Process groups and sessions: children that a signal to our own group does not reach, and whose session we are in."""

from __future__ import annotations

import os
from typing import TypedDict


class ProcessGrouping(TypedDict, total=False):
    """Arguments of subprocess.Popen that say where a child belongs."""

    start_new_session: bool
    process_group: int


NEW_SESSION: ProcessGrouping = {"start_new_session": True}
NEW_GROUP: ProcessGrouping = {"process_group": 0}  # in our session


def leads_session() -> bool:
    """Whether this process's session is its own; where there are no sessions, it is."""
    return not hasattr(os, "getsid") or os.getsid(0) == os.getpid()
