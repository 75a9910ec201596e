"""Co-launch with small programs in place of trainer and evaluator: who ends when, and what is reported."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

from sidestep.evaluator.sharing.process_priority import sessions_have_weights
from sidestep.shared.launch.processes import NEW_GROUP, NEW_SESSION, ProcessGrouping
from tests.fakes.expert import FakeExpert
from tests.fakes.gate import Gate
from tests.fakes.reading import read_lines_until

REPOSITORY = Path(__file__).resolve().parents[2]
TIMEOUT_SECONDS = 60

LAUNCH = """
import sys
from sidestep.shared.launch.co_launch import CoLaunch
from sidestep.shared.logs import configure_logging
configure_logging()
trainer, evaluator, published, *more = sys.argv[1:]
command = lambda code: [sys.executable, "-u", "-c", code]
ended = CoLaunch(command(trainer), command(evaluator), lambda: published == "yes", one_session="one" in more).run()
print("ended", ended.trainer, ended.evaluator, ended.interrupted)
sys.exit(ended.exit_code)
"""
# Says what happens to it; ends when its input closes (drained) or on SIGTERM.
EVALUATOR = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: (print("evaluator: stopped"), sys.exit(0)))
print("evaluator: ready")
sys.stdin.read()
print("evaluator: drained")
"""
# Waits for SIGTERM and ends in order, as a training does after its current step.
TRAINER = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: (print("trainer: saved"), sys.exit(1)))
print("trainer: ready")
while True: signal.pause()
"""
STUBBORN = (
    "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('trainer: ready')\nwhile True: signal.pause()"
)


def _start(trainer: str, evaluator: str = EVALUATOR, published: str = "yes", *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-u", "-c", LAUNCH, trainer, evaluator, published, *more], cwd=REPOSITORY,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def _run(trainer: str, evaluator: str = EVALUATOR, published: str = "yes") -> tuple[int, str]:
    process = _start(trainer, evaluator, published)
    output, _ = process.communicate(timeout=TIMEOUT_SECONDS)
    return process.returncode, output


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate.create(tmp_path / "gate")


def test_when_training_ends_the_evaluator_is_drained() -> None:
    code, output = _run("print('trained')")
    assert code == 0
    assert "evaluator: drained" in output
    assert "ended 0 0 False" in output


@pytest.mark.parametrize(("published", "end"), [("yes", "drained"), ("no", "stopped")])
def test_a_failed_training_still_has_its_checkpoints_evaluated(gate: Gate, published: str, end: str) -> None:
    process = _start(f"{gate.wait}\nimport sys; sys.exit(1)", published=published)
    read_lines_until(process, process.stdout, "evaluator: ready")
    gate.open()
    output, _ = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == 1
    assert "training failed (exit status 1)" in output
    assert f"evaluator: {end}" in output


@pytest.mark.parametrize(
    ("evaluator", "how"),
    [("import sys; sys.exit(1)", "exit status 1"), ("import os; os.kill(os.getpid(), 9)", "killed by signal SIGKILL")],
)
def test_the_evaluators_failure_never_ends_training(gate: Gate, evaluator: str, how: str) -> None:
    process = _start(f"{gate.wait}\nprint('trained to the end')", evaluator)
    read_lines_until(process, process.stdout, f"the evaluator ended early ({how}); training goes on")
    gate.open()
    output, _ = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == 1
    assert "trained to the end" in output


def test_a_regression_is_not_a_failure() -> None:
    code, output = _run("print('trained')", "import sys; sys.stdin.read(); sys.exit(3)")
    assert code == 3
    assert "failed" not in output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_ends_both_in_order(number: signal.Signals) -> None:
    process = _start(TRAINER)
    read_lines_until(process, process.stdout, "trainer: ready", "evaluator: ready")
    process.send_signal(number)
    output, _ = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == 1
    assert output.index("trainer: saved") < output.index("evaluator: stopped")
    assert "failed" not in output


@pytest.mark.parametrize("sessions", ["one", "two"])
def test_two_signals_end_both_at_once(sessions: str) -> None:
    process = _start(STUBBORN, "print('evaluator: ready')\nimport signal; signal.pause()", "yes", sessions)
    read_lines_until(process, process.stdout, "trainer: ready", "evaluator: ready")
    process.send_signal(signal.SIGINT)
    read_lines_until(process, process.stdout, "stopping")
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == 1
    assert "ended -9 -9 True" in output


@pytest.mark.parametrize("sessions", ["one", "two"])
def test_ctrl_c_in_a_terminal_reaches_the_children_only_through_us(sessions: str) -> None:
    """A terminal signals its whole foreground group; the children must not be in it."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", LAUNCH, TRAINER, EVALUATOR, "yes", sessions], cwd=REPOSITORY,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    read_lines_until(process, process.stdout, "trainer: ready", "evaluator: ready")
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=TIMEOUT_SECONDS)
    assert output.count("trainer: saved") == 1
    assert "KeyboardInterrupt" not in output


@pytest.mark.parametrize("sessions", ["one", "two"])
def test_both_can_be_in_one_session(sessions: str) -> None:
    say = "import os; os.write(1, b'session %d group %d\\n' % (os.getsid(0), os.getpgrp()))"  # a line at once
    process = _start(say, say + "; import sys; sys.stdin.read()", "yes", sessions)
    output, _ = process.communicate(timeout=TIMEOUT_SECONDS)
    lines = [line.split() for line in output.splitlines() if line.startswith("session")]
    session_ids, groups = {line[1] for line in lines}, {line[3] for line in lines}
    assert len(groups) == 2, output
    assert len(session_ids) == (1 if sessions == "one" else 2), output


def test_in_one_session_a_process_that_asks_the_terminal_is_not_stopped_for_good() -> None:
    """The terminal belongs to the group in the foreground: whoever else reads from it would be stopped."""
    ask = "import sys\ntry: print('answer', sys.stdin.readline())\nexcept OSError as error: print('refused', error)"
    terminal = pexpect.spawn(
        sys.executable, ["-u", "-c", LAUNCH, ask, EVALUATOR, "yes", "one"], cwd=str(REPOSITORY), encoding="utf-8",
        timeout=TIMEOUT_SECONDS,
    )  # fmt: skip
    terminal.expect("refused")
    terminal.sendline("yes")
    terminal.expect("ended 0 0 False")
    terminal.close()
    assert terminal.exitstatus == 0


@pytest.mark.skipif(
    not sessions_have_weights(),
    reason="needs Linux, outside a group of the cpu controller",
)
@pytest.mark.parametrize(
    ("session", "max_slowdown", "description"),
    [
        (NEW_GROUP, "0", "SCHED_IDLE"),  # as `sidestep up --max-slowdown 0` and launch=True start it
        (NEW_GROUP, "0.02", "a low session weight"),  # bursts need a session of its own
        (NEW_SESSION, "0", "a low session weight"),  # the idle class would say nothing against another session
    ],
)
def test_only_in_the_training_session_the_worker_is_in_the_idle_class(
    tmp_path: Path, session: ProcessGrouping, max_slowdown: str, description: str
) -> None:
    expert = FakeExpert.create(tmp_path / "expert", cases=2)
    expert.publish(10)
    done = subprocess.run(
        expert.command("watch", "--drain-on-stdin-close", "--device", "cpu", "--max-slowdown", max_slowdown),
        env=expert.environment, cwd=REPOSITORY, input="", capture_output=True, text=True, timeout=TIMEOUT_SECONDS,
        check=False, **session,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"the evaluator's worker runs with {description}" in done.stderr
    assert expert.outcomes()["checkpoint-10"] == "evaluated"
