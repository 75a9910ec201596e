"""The evaluator beside somebody's training, with small programs in its place: left alone, and given its time."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sidestep.trainer.publishing.evaluator_process import EvaluatorProcess

REPOSITORY = Path(__file__).resolve().parents[4]
# Ends when its input closes; on SIGTERM it says so. Opening the pipe that it is given tells that it is ready.
DRAINS = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: (print("stopped", flush=True), sys.exit(0)))
print("ready", flush=True)
open(sys.argv[1], "w").close()
sys.stdin.read()
print("drained", flush=True)
"""
NEVER_DONE = DRAINS + "open(sys.argv[1], 'w').close()\nwhile True: signal.pause()\n"
# A script in whose last moments the evaluator is waited for.
SCRIPT = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a terminal, however the tests were started
from pathlib import Path
from sidestep.shared.logs import configure_logging
from sidestep.trainer.publishing.evaluator_process import EvaluatorProcess, wait_at_exit
configure_logging()
code, log, seconds, end = sys.argv[1:]
signs = log + ".signs"
os.mkfifo(signs)
process = EvaluatorProcess.start([sys.executable, "-c", code, signs], Path(log), "the command")
wait_at_exit(process, float(seconds))
open(signs).read()
print("training beside", process.pid, flush=True)
exec(end)
"""


def _script(tmp_path: Path, code: str, seconds: float, end: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, code, str(tmp_path / "log"), str(seconds), end], cwd=REPOSITORY, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("end", "status", "said"),
    [("pass", 0, "drained"), ("raise ValueError", 1, "drained"), ("raise KeyboardInterrupt", -2, "stopped")],
    ids=["done", "failed", "ctrl-c"],
)
def test_how_a_script_ends_decides_what_becomes_of_the_evaluator(
    tmp_path: Path, end: str, status: int, said: str
) -> None:
    process = _script(tmp_path, DRAINS, 60, end)
    _, log = process.communicate(timeout=60)
    assert process.returncode == status, log
    assert said in (tmp_path / "log").read_text()


def test_waiting_is_bounded(tmp_path: Path) -> None:
    # Not left to the waiting itself: on a busy machine half a second may be too short for it.
    drain_first = "process.finish()\nopen(signs).read()"
    process = _script(tmp_path, NEVER_DONE, 0.5, drain_first)
    _, log = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "not waiting for the evaluator any longer (after 0 s). Its checkpoints stay published: the command" in log
    assert (tmp_path / "log").read_text() == "ready\ndrained\nstopped\n"


def test_ctrl_c_ends_the_waiting_and_not_the_script(tmp_path: Path) -> None:
    process = _script(tmp_path, NEVER_DONE, 600, "pass")
    assert process.stderr is not None
    assert any("waiting for the evaluator" in line for line in iter(process.stderr.readline, ""))
    process.send_signal(signal.SIGINT)
    _, log = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "(interrupted)" in log
    assert "stopped" in (tmp_path / "log").read_text()


def test_a_killed_script_leaves_an_evaluator_that_drains(tmp_path: Path) -> None:
    process = _script(tmp_path, DRAINS, 600, "import signal; signal.pause()")
    assert process.stdout is not None
    evaluator = os.pidfd_open(int(process.stdout.readline().removeprefix("training beside ")))
    process.kill()
    process.communicate()
    assert select.select([evaluator], [], [], 60)[0]  # has ended
    os.close(evaluator)
    assert "drained" in (tmp_path / "log").read_text()


def test_forks_of_the_training_do_not_keep_the_evaluator_from_draining(tmp_path: Path) -> None:
    """Data loader workers are such forks, and may outlive the training."""
    end = "import os, signal; child = os.fork()\nif not child: signal.pause()\nprocess.wait(60); os.kill(child, 9)"
    process = _script(tmp_path, DRAINS, 60, end)
    _, log = process.communicate(timeout=60)
    assert "the evaluator has finished" in log, log


def test_an_early_end_is_reported_with_the_end_of_its_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    command = [sys.executable, "-c", "print('no such model'); exit(1)"]
    process = EvaluatorProcess.start(command, tmp_path / "log", "command")
    [watch] = [thread for thread in threading.enumerate() if thread.name == "evaluator-watch"]
    watch.join()
    assert "ended early (exit status 1); training goes on" in caplog.text
    assert "no such model" in caplog.text
    assert process.wait(10) == 1
