"""Running a command line program: one line per error of the user's, the documented exit codes, no traceback."""

from __future__ import annotations

import sys

import typer

from sidestep.shared.errors import SidestepError
from sidestep.shared.logs import terminal_safe


def run_app(app: typer.Typer, name: str) -> None:
    """Run ``app`` and exit. A SidestepError becomes one line on standard error and its exit code."""
    try:
        app(prog_name=name)
    except SidestepError as error:
        sys.stderr.write(f"{name}: error: {terminal_safe(error.message)}\n")
        if error.hint:
            sys.stderr.write(f"{name}: hint: {terminal_safe(error.hint)}\n")
        raise SystemExit(error.exit_code) from None
