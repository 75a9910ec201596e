"""The evaluator as a process of its own beside any training: started, left alone, and given time to finish.

Used by ``PublishCheckpoint(launch=True)``. The two share nothing but the folder and a pipe: when the training closes
its end, by whatever death, the evaluator finishes what is pending and ends. Nothing here is raised into training,
and training waits for nothing here; only the interpreter's exit waits, for a bounded time, and Ctrl-C ends that.
"""

from __future__ import annotations

import atexit
import os
import re
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download

import sidestep
from sidestep.shared.commands.exit_codes import EXIT_REGRESSION
from sidestep.shared.errors import BaseModelError
from sidestep.shared.launch.co_launch import describe_exit
from sidestep.shared.launch.processes import own_group
from sidestep.shared.logs import get_logger
from sidestep.shared.protocol.layout import ModelFolder, ReportsFolder
from sidestep.shared.protocol.manifest import BASE_MODEL_VARIABLE

log = get_logger("trainer.publisher")

LOG_NAME = "evaluator.log"
STOP_SECONDS = 30.0  # what a stopped evaluator gets to keep its finished cases, before it is killed
QUIET_SECONDS = 1.0  # an evaluator that ends as soon as this is not worth a line
TAIL_BYTES = 2000

# What torchrun, accelerate and MPI tell their own ranks: an evaluator that believed it would join their group.
_RANK_VARIABLES = re.compile(
    r"(LOCAL_|GROUP_|ROLE_)?(RANK|WORLD_SIZE)|MASTER_(ADDR|PORT)|(TORCHELASTIC|ACCELERATE|FSDP|OMPI|PMI)_.*|ROLE_NAME"
)


@dataclass(frozen=True)
class LaunchOptions:
    """How ``PublishCheckpoint(launch=True)`` starts the evaluator.

    ``base_model``: folder of the base model; default: what the training loaded. ``arguments``: further arguments of
    ``sidestep-evaluator watch``, such as ``("--max-new-tokens", "64")``. ``drain_seconds``: how long the end of the
    script waits for the evaluator; what is not evaluated by then stays published. ``log_file``: default is
    evaluator.log in the reports folder.
    """

    base_model: str | Path | None = None
    arguments: tuple[str, ...] = ()
    drain_seconds: float = 3600.0
    log_file: Path | None = None


class EvaluatorProcess:
    """One evaluator of one model folder. ``finish`` says that no checkpoint will come; ``wait`` sees it to its end."""

    def __init__(self, command: Sequence[str], log_file: Path, resume_command: str) -> None:
        """Start it. Raises OSError when that is impossible."""
        self._resume_command = resume_command
        self.log_file = log_file
        log_file.parent.mkdir(parents=True, exist_ok=True)
        with log_file.open("ab") as output:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=output, stderr=output,
                env=evaluator_environment(os.environ), bufsize=0, **own_group(),
            )  # fmt: skip
        self._finishing = False
        threading.Thread(target=self._report_early_end, name="evaluator-watch", daemon=True).start()
        _close_pipe_in_forks(self)

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


def start_evaluator(
    model: ModelFolder, reports: ReportsFolder, suite: Path, base_model: str, options: LaunchOptions, device: str
) -> EvaluatorProcess:
    """Start the evaluator of one training's output folder. Raises OSError when that is impossible."""
    model.outbox.mkdir(mode=0o755, parents=True, exist_ok=True)  # tells the folder from an expert's weights folder
    watch = [
        *("watch", str(model.root), "--base-model", base_model, "--suite", str(suite), "--device", device),
        *("--reports-dir", str(reports.root), *options.arguments),
    ]
    return EvaluatorProcess(
        [sys.executable, "-m", "sidestep.evaluator", *watch, "--drain-on-stdin-close"],
        options.log_file or reports.root / LOG_NAME,
        resume_command="sidestep-evaluator " + " ".join([*watch, "--once"]),
    )


def evaluator_environment(environment: Any) -> dict[str, str]:
    """The environment for the evaluator: no rank of a distributed training, our packages and not the script's folder.

    Pure. A ``sidestep.py`` beside somebody's script must not be taken for ours.
    """
    ours = str(Path(sidestep.__file__).resolve().parents[1])
    kept = {name: value for name, value in environment.items() if not _RANK_VARIABLES.fullmatch(name)}
    paths = [ours, *filter(None, kept.get("PYTHONPATH", "").split(os.pathsep))]
    return kept | {"PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths))}


def base_model_of(model: Any, given: str | Path | None) -> str:
    """A folder with the base model that a training has loaded. Raises BaseModelError that says what to give.

    Named in this order: by the caller, by SIDESTEP_BASE_MODEL, by the adapter, by the model. A hub id is looked up in
    the hub's local cache, where the training has just read it; nothing is fetched.
    """
    adapters = getattr(model, "peft_config", None) or {}
    named = [given, os.environ.get(BASE_MODEL_VARIABLE)]
    named += [getattr(adapter, "base_model_name_or_path", None) for adapter in adapters.values()]
    config = getattr(model, "config", None)
    named.append(getattr(config, "_name_or_path", None))
    name = next((str(each) for each in named if each), None)
    if name is None:
        raise BaseModelError(
            "the evaluator is not started: the model does not say which base model it was loaded from",
            hint=f"PublishCheckpoint(evaluator=LaunchOptions(base_model=…)), or set {BASE_MODEL_VARIABLE}",
        )
    if Path(name).expanduser().is_dir():
        return str(Path(name).expanduser().resolve())
    try:
        return str(snapshot_download(name, revision=getattr(config, "_commit_hash", None), local_files_only=True))
    except Exception as error:  # the hub's client has a class for each way of not finding a model
        raise BaseModelError(
            f"the evaluator is not started: the base model {name} is neither a folder nor in the hub's local cache",
            hint=f"PublishCheckpoint(evaluator=LaunchOptions(base_model=…)), or set {BASE_MODEL_VARIABLE}",
        ) from error


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
