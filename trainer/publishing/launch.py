"""Starting an evaluator when a training begins: what ``PublishCheckpoint(launch=True)`` does, and how.

Nothing here is raised into training once it has begun; what can be wrong before is said before.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from sidestep.shared.errors import ConfigError, SidestepError
from sidestep.shared.logs import configure_logging, get_logger
from sidestep.shared.protocol.layout import ModelFolder
from sidestep.shared.protocol.place import reports_of
from sidestep.trainer.publishing.base_model import base_model_of
from sidestep.trainer.publishing.evaluator_process import EvaluatorProcess, wait_at_exit
from sidestep.trainer.publishing.interpreter import (
    Interpreter,
    choose_interpreter,
    evaluator_environment,
    own_interpreter,
)

log = get_logger("trainer.publisher")

LOG_NAME = "evaluator.log"


@dataclass(frozen=True)
class LaunchOptions:
    """How ``PublishCheckpoint(launch=True)`` starts the evaluator.

    ``base_model``: folder of the base model; default: what the training loaded. ``arguments``: further arguments of
    ``sidestep-evaluator watch``, such as ``("--max-new-tokens", "64")``. ``drain_seconds``: how long the end of the
    script waits for the evaluator; what is not evaluated by then stays published. ``log_file``: default is
    evaluator.log in the reports folder. ``python``: the interpreter of another environment to run it in, with packages
    and versions of its own; default: the training's.
    """

    base_model: str | Path | None = None
    arguments: tuple[str, ...] = ()
    drain_seconds: float = 3600.0
    log_file: Path | None = None
    python: str | Path | None = None


class EvaluatorLaunch:
    """The evaluator of one training: started if asked for, else only told of. ``suite`` None: neither."""

    def __init__(self, suite: Path | None, options: LaunchOptions, *, wanted: bool) -> None:
        self._suite = suite
        self._options = options
        self._wanted = wanted
        self._interpreter: Interpreter | None = None

    def check(self) -> None:
        """Find out now what would keep it from starting later. Raises ConfigError."""
        if not self._wanted:
            return
        if self._suite is None or not self._suite.is_file():
            raise ConfigError(
                f"PublishCheckpoint(launch=True): {self._suite or 'suite'} is not a file",
                hint="give suite= the path of the test cases (docs/test-cases.md)",
            )
        if os.environ.get("RANK", "0") == "0":  # no other rank starts it
            self._interpreter = choose_interpreter(self._options.python)

    def begin(self, model: ModelFolder, loaded: object, device: str) -> EvaluatorProcess | None:
        """Start the evaluator, or say how. Whatever goes wrong here, training goes on and publishes."""
        if self._suite is None:
            return None
        if not logging.getLogger("sidestep").hasHandlers():
            configure_logging()  # a script that set up no log should still see these lines
        if not self._wanted:
            log.info("published only; to evaluate: sidestep-evaluator watch %s --suite %s --base-model …",
                     model.root, self._suite)  # fmt: skip
            return None
        try:
            base_model = base_model_of(loaded, self._options.base_model)
            process = self._start(model, self._suite, base_model, device if device.startswith("cuda") else "cpu")
        except (OSError, SidestepError) as error:
            log.error("%s; training goes on and publishes its checkpoints", error)
            return None
        wait_at_exit(process, self._options.drain_seconds)
        log.info("the evaluator runs beside this training (process %d): reports in %s, its log is %s",
                 process.pid, reports_of(model).root, process.log_file)  # fmt: skip
        return process

    def _start(self, model: ModelFolder, suite: Path, base_model: str, device: str) -> EvaluatorProcess:
        """Start the evaluator of one training's output folder. Raises OSError when that is impossible."""
        interpreter, reports = self._interpreter or own_interpreter(), reports_of(model)
        model.outbox.mkdir(mode=0o755, parents=True, exist_ok=True)  # tells the folder from an expert's weights folder
        watch = [
            *("watch", str(model.root), "--base-model", base_model, "--suite", str(suite), "--device", device),
            *("--reports-dir", str(reports.root), *self._options.arguments),
        ]
        command = [interpreter.path, "-m", "sidestep.evaluator"]
        again = ["sidestep-evaluator"] if interpreter.shares_packages else command
        return EvaluatorProcess.start(
            [*command, *watch, "--drain-on-stdin-close"],
            self._options.log_file or reports.root / LOG_NAME,
            resume_command=" ".join([*again, *watch, "--once"]),
            environment=evaluator_environment(os.environ, interpreter),
        )
