"""Standard output for tables."""

from __future__ import annotations

import os
import sys

from rich.console import Console


def make_console() -> Console:
    """Wide enough for the tables where standard output is not a terminal and nobody says how wide it is."""
    return Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else 120)
