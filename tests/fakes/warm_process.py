"""Functions run in processes of their own that are forked from one that has imported the heavy libraries already.

A training script or an evaluator's command spends most of its time importing; tests need many of them. Forked from a
process that has the imports behind it (tests.fakes.fork_server), they are real processes with their own output files,
arguments, environment and folder, which may be killed and may start others. What imports itself, and what happens when
they fail, is tested with processes that begin from nothing.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]


class WarmServer:
    """A process that has imported ``modules``, started when it is needed first, and asked for one process at a time."""

    def __init__(self, *modules: str) -> None:
        self._modules = modules
        self._process: subprocess.Popen[str] | None = None
        self._results: tempfile.TemporaryDirectory[str] | None = None

    def run(
        self,
        call: str,
        argument: Any = None,
        *,
        folder: Path,
        timeout: float,
        argv: Sequence[str] = ("warm",),
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run ``call`` (module:function) in ``folder`` to its end, with ``argv`` as its ``sys.argv``.

        ``argument`` is JSON, and what the function gets unless it is None. The status is negative for a signal.
        Raises AssertionError with the log when it is not done within ``timeout`` seconds.
        """
        server, results = self._start()
        output, log = results / "stdout.txt", results / "stderr.txt"
        request = {
            "call": call, "argument": argument, "argv": list(argv), "folder": str(folder), "output": str(output),
            "log": str(log), "environment": dict(os.environ if environment is None else environment),
        }  # fmt: skip
        assert server.stdin is not None and server.stdout is not None
        server.stdin.write(json.dumps(request) + "\n")
        server.stdin.flush()
        pid = int(server.stdout.readline())
        late = threading.Event()

        def end() -> None:
            late.set()
            os.kill(pid, signal.SIGKILL)

        timer = threading.Timer(timeout, end)
        timer.start()
        try:
            code = int(server.stdout.readline())
        finally:
            timer.cancel()
        assert not late.is_set(), f"not done after {timeout} s:\n{log.read_text()}"
        return subprocess.CompletedProcess(list(argv), code, output.read_text(), log.read_text())

    def _start(self) -> tuple[subprocess.Popen[str], Path]:
        """The server, and the folder for the output of its processes; started where that has not been done."""
        if self._process is None or self._results is None:
            self._results = tempfile.TemporaryDirectory(prefix="warm-process-")
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.fakes.fork_server", *self._modules], cwd=REPOSITORY,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
            atexit.register(self.stop)
        return self._process, Path(self._results.name)

    def stop(self) -> None:
        """End the server; without effect when it is not running."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None
        if self._results is not None:
            self._results.cleanup()
            self._results = None


TRAINER = WarmServer("tests.fakes.heavy_imports")
EVALUATOR = WarmServer("sidestep.evaluator.commands.evaluating", "scipy.stats", "statsmodels.stats.proportion")


def run_evaluator(
    *arguments: str, timeout: float, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """``python -m sidestep.evaluator`` with these arguments, from the repository."""
    return EVALUATOR.run(
        "sidestep.evaluator.__main__:main", argv=["sidestep-evaluator", *arguments], folder=REPOSITORY,
        timeout=timeout, environment=environment,
    )  # fmt: skip


def run_trainer(*arguments: str, timeout: float) -> subprocess.CompletedProcess[str]:
    """``python -m sidestep.trainer`` with these arguments, from the repository."""
    return TRAINER.run(
        "sidestep.trainer.__main__:main", argv=["sidestep-trainer", *arguments], folder=REPOSITORY, timeout=timeout
    )


def run_training_script(
    script: Path, *arguments: str, folder: Path, timeout: float, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """``python SCRIPT`` with these arguments, from ``folder``: a script that imports torch, transformers and TRL."""
    return TRAINER.run(
        "tests.fakes.fork_server:run_script", str(script), argv=[str(script), *arguments], folder=folder,
        timeout=timeout, environment=environment,
    )  # fmt: skip
