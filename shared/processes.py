"""Child processes that a signal to our own process group does not reach."""

from __future__ import annotations

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
