"""Functions run in processes of their own that are forked from one that has imported the heavy libraries already.

A training script spends most of its time importing; tests that need many of them, and need to kill them, fork them
here. They are real processes, with their own output files, environment and folder.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.fakes.training_script", "tests.fakes.killed_save"])


def run_warm(function: Callable[[Any], None], argument: Any, folder: Path, timeout: float) -> tuple[int, str, str]:
    """Exit status (negative: a signal), standard output and standard error of ``function(argument)``."""
    output, log = folder / "stdout.txt", folder / "stderr.txt"
    process = _context.Process(target=_inside, args=(function, argument, str(folder), str(output), str(log)))
    process.start()
    process.join(timeout)
    if process.exitcode is None:
        process.kill()
        process.join()
        raise AssertionError(f"not done after {timeout} s:\n{log.read_text()}")
    return process.exitcode, output.read_text(), log.read_text()


def _inside(function: Callable[[Any], None], argument: Any, folder: str, output: str, log: str) -> None:
    for descriptor, path in ((1, output), (2, log)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), descriptor)
    os.chdir(folder)
    function(argument)
    sys.stdout.flush()
