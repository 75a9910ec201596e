"""Starts trainer and evaluator side by side and sees both to their end. Neither takes the other down.

    trainer   ends by itself; its exit decides whether the run succeeded
    evaluator learns by its closed standard input that training is over, finishes what is pending, and ends

A first Ctrl-C (or SIGTERM) stops the trainer, which saves, and then the evaluator, which keeps what it finished.
A second one ends both at once.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO

from sidestep.shared.commands.exit_codes import EXIT_FAILURE, EXIT_REGRESSION
from sidestep.shared.launch.processes import NEW_GROUP, NEW_SESSION
from sidestep.shared.logs import get_logger

log = get_logger("sidestep")


@dataclass
class _Stop:
    """How often the user asked for an end; set by signal handlers, waited for by the main thread."""

    requests: int = 0
    changed: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True)
class Ended:
    """Exit statuses; negative is a signal, as subprocess has it."""

    trainer: int
    evaluator: int
    interrupted: bool

    @property
    def exit_code(self) -> int:
        """0 success, 1 failure of either side or an interruption, 3 a regression found by the evaluator."""
        if self.trainer != 0 or self.interrupted:
            return EXIT_FAILURE
        return self.evaluator if self.evaluator in (0, EXIT_REGRESSION) else EXIT_FAILURE


class CoLaunch:
    """Both processes, out of reach of the terminal's signals: these reach them through us, in order.

    Each has a session of its own, unless ``one_session``: there an evaluator can take just what training leaves over,
    because the kernel weighs sessions against each other before anything else.
    """

    def __init__(
        self,
        trainer_command: Sequence[str],
        evaluator_command: Sequence[str],
        anything_published: Callable[[], bool] = lambda: True,
        outputs: tuple[IO[bytes], IO[bytes]] | None = None,
        *,
        one_session: bool = False,
    ) -> None:
        """``outputs``: files to which trainer and evaluator write instead of our own output."""
        self._trainer_command = trainer_command
        self._evaluator_command = evaluator_command
        self._anything_published = anything_published
        self._outputs = outputs or (None, None)
        self._one_session = one_session
        self._stop = _Stop()

    def run(self) -> Ended:
        """Start both, wait for both, report what happened to each."""
        handlers = {number: signal.signal(number, self._on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        if self._one_session:
            # Inherited: a background group of a terminal's session would be stopped for good when it uses the terminal.
            handlers |= {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGTTIN, signal.SIGTTOU)}
        grouping = NEW_GROUP if self._one_session else NEW_SESSION
        try:
            trainer_output, evaluator_output = self._outputs
            evaluator = subprocess.Popen(
                self._evaluator_command,
                stdin=subprocess.PIPE,
                stdout=evaluator_output,
                stderr=evaluator_output,
                **grouping,
            )
            try:
                trainer = subprocess.Popen(
                    self._trainer_command, stdout=trainer_output, stderr=trainer_output, **grouping
                )
            except BaseException:
                evaluator.kill()
                raise
            return self._see_to_the_end(trainer, evaluator)
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def _see_to_the_end(self, trainer: subprocess.Popen[bytes], evaluator: subprocess.Popen[bytes]) -> Ended:
        watch = threading.Thread(target=self._report_early_end, args=(evaluator, trainer), daemon=True)
        watch.start()
        trainer_exit = self._wait(trainer, evaluator, notified=0)
        self._report("training", trainer_exit)
        notified = self._stop.requests
        pointless = trainer_exit != 0 and not self._anything_published()
        if notified or pointless:
            _send(evaluator, signal.SIGTERM)
        elif evaluator.poll() is None:
            log.info("training has ended; the evaluator finishes what is pending")
        assert evaluator.stdin is not None
        with suppress(BrokenPipeError):
            evaluator.stdin.close()
        evaluator_exit = self._wait(evaluator, trainer, notified=notified)
        self._report("the evaluator", evaluator_exit)
        return Ended(trainer_exit, evaluator_exit, self._stop.requests > 0)

    def _wait(self, process: subprocess.Popen[bytes], other: subprocess.Popen[bytes], *, notified: int) -> int:
        """Wait for ``process``; pass on the first stop request to it, and answer the second by ending both.

        ``notified``: how many stop requests the process has had passed on already.
        """
        ended = threading.Event()

        def wait() -> None:
            process.wait()
            ended.set()
            self._stop.changed.set()

        threading.Thread(target=wait, daemon=True).start()
        while not ended.is_set():
            if self._stop.requests >= 2:
                for running in (process, other):
                    _send(running, signal.SIGKILL)
            elif self._stop.requests > notified:
                notified = self._stop.requests
                _send(process, signal.SIGTERM)
            self._stop.changed.wait()
            self._stop.changed.clear()
        return process.returncode

    def _report_early_end(self, evaluator: subprocess.Popen[bytes], trainer: subprocess.Popen[bytes]) -> None:
        code = evaluator.wait()
        if trainer.poll() is None and not self._stop.requests:
            log.error(
                "the evaluator ended early (%s); training goes on. Checkpoints stay published: "
                "`sidestep-evaluator watch --once` evaluates them later",
                describe_exit(code),
            )

    def _report(self, what: str, code: int) -> None:
        if code not in (0, EXIT_REGRESSION) and not self._stop.requests:
            log.error("%s failed (%s)", what, describe_exit(code))

    def _on_signal(self, number: int, frame: object) -> None:
        self._stop.requests += 1
        if self._stop.requests == 1:
            log.warning("stopping: training ends after its current step and saves (again to end both at once)")
        else:
            log.warning("ending both at once")
        self._stop.changed.set()


def python_command(module: str, *arguments: str) -> list[str]:
    """Run one of our modules with the interpreter that runs us."""
    return [sys.executable, "-m", module, *arguments]


def describe_exit(code: int) -> str:
    return f"killed by signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"


def _send(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Signal the process; SIGKILL goes to everything in its group."""
    with suppress(ProcessLookupError):
        if number is signal.SIGKILL:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
