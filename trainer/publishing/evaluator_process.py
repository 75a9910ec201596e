"""A running evaluator beside a training: left alone, given time to finish, and never a reason for training to fail.

The two share nothing but the folder and a pipe: when the training closes its end, by whatever death, the evaluator
finishes what is pending and ends. Training waits for nothing here; only the interpreter's exit waits, for a bounded
time, and Ctrl-C ends that.
"""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from sidestep.shared.commands.exit_codes import EXIT_REGRESSION
from sidestep.shared.launch.co_launch import describe_exit
from sidestep.shared.launch.processes import NEW_GROUP
from sidestep.shared.logs import get_logger

log = get_logger("trainer.publisher")

STOP_SECONDS = 30.0  # what a stopped evaluator gets to keep its finished cases, before it is killed
QUIET_SECONDS = 1.0  # an evaluator that ends as soon as this is not worth a line
TAIL_BYTES = 2000


class EvaluatorProcess:
    """One evaluator of one model folder. ``finish`` says that no checkpoint will come; ``wait`` sees it to its end."""

    def __init__(self, process: subprocess.Popen[bytes], log_file: Path, resume_command: str) -> None:
        self._process = process
        self._resume_command = resume_command
        self._finishing = False
        self.log_file = log_file

    @classmethod
    def start(
        cls, command: Sequence[str], log_file: Path, resume_command: str, environment: Mapping[str, str] | None = None
    ) -> EvaluatorProcess:
        """Start it. Raises OSError when that is impossible."""
        log_file.parent.mkdir(parents=True, exist_ok=True)
        with log_file.open("ab") as output:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=output, stderr=output, env=environment, bufsize=0, **NEW_GROUP
            )
        started = cls(process, log_file, resume_command)
        threading.Thread(target=started._report_early_end, name="evaluator-watch", daemon=True).start()
        _close_pipe_in_forks(started)
        return started

    @property
    def pid(self) -> int:
        return self._process.pid

    def finish(self) -> None:
        """Let it evaluate what is pending and end; returns at once."""
        self._finishing = True
        self.close_pipe()

    def wait(self, seconds: float) -> int | None:
        """Wait until it has ended, at most ``seconds``; then, and at Ctrl-C, stop it. Returns its exit status.

        None when it had to be stopped: what it had not evaluated stays published.
        """
        self.finish()
        try:
            code = self._wait(seconds)
        except KeyboardInterrupt:
            self._stop("interrupted")
            return None
        if code is None:
            self._stop(f"after {seconds:.0f} s")
        elif code in (0, EXIT_REGRESSION):
            log.info("the evaluator has finished; its log is %s", self.log_file)
        else:
            log.error("the evaluator failed (%s); %s:\n%s", describe_exit(code), self.log_file, self._log_tail())
        return code

    def stop(self) -> None:
        """End it now; finished cases are kept, and what is pending stays published."""
        self._finishing = True
        if self._process.poll() is None:
            self._stop("the training was interrupted")

    def close_pipe(self) -> None:
        """Close our end, without a word to the process; also what a forked child must do with its copy."""
        if self._process.stdin:
            with suppress(OSError):
                self._process.stdin.close()

    def _wait(self, seconds: float) -> int | None:
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(min(seconds, QUIET_SECONDS))
        log.info(
            "waiting for the evaluator to finish what is pending, at most %.0f s (Ctrl-C stops waiting); its log is %s",
            seconds, self.log_file,
        )  # fmt: skip
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(max(0.0, seconds - QUIET_SECONDS))
        return self._process.poll()

    def _stop(self, why: str) -> None:
        log.warning(
            "not waiting for the evaluator any longer (%s). Its checkpoints stay published: %s", why,
            self._resume_command,
        )  # fmt: skip
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _report_early_end(self) -> None:
        code = self._process.wait()
        if not self._finishing:
            log.error(
                "the evaluator ended early (%s); training goes on, and checkpoints stay published: %s. From its log "
                "(%s):\n%s", describe_exit(code), self._resume_command, self.log_file, self._log_tail(),
            )  # fmt: skip

    def _log_tail(self) -> str:
        try:
            return self.log_file.read_bytes()[-TAIL_BYTES:].decode(errors="replace").strip()
        except OSError as error:
            return str(error)


def wait_at_exit(process: EvaluatorProcess, seconds: float) -> None:
    """Let the interpreter's exit wait for the evaluator; after Ctrl-C has ended the training, stop it instead."""

    def wait() -> None:
        if isinstance(getattr(sys, "last_value", None), KeyboardInterrupt):
            process.stop()
        else:
            process.wait(seconds)

    atexit.register(wait)


def _close_pipe_in_forks(process: EvaluatorProcess) -> None:
    """Data loader workers are forks of the training: their copies of the pipe would keep it open."""
    reference = weakref.ref(process)

    def close() -> None:
        if alive := reference():
            alive.close_pipe()

    os.register_at_fork(after_in_child=close)
