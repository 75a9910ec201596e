"""The same commands at a terminal and in a pipe: a live display there, plain lines here."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pexpect
import pytest

from tests.fakes.expert import REPOSITORY, FakeExpert
from tests.fakes.gate import Gate

TIMEOUT_SECONDS = 60
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")

PLAIN_LOG = """\
TIME evaluator checkpoint-20: 0 of 2 cases done
TIME evaluator checkpoint-20: 1 of 2 cases done
TIME evaluator checkpoint-20: 1 of 2 passed (50.0%)
TIME evaluator checkpoint-10: 0 of 2 cases done
TIME evaluator checkpoint-10: 1 of 2 cases done
TIME evaluator checkpoint-10: 1 of 2 passed (50.0%)
"""

# Trainer and evaluator as small programs, started as `sidestep up` starts them.
UP = """
import sys
from contextlib import ExitStack
from pathlib import Path
from sidestep.shared.launch.co_launch import CoLaunch
from sidestep.shared.launch.command import open_outputs
from sidestep.shared.launch.live_display import is_wanted, show_live_display
from sidestep.shared.logs import configure_logging
from sidestep.shared.protocol.place import find_place
configure_logging()
command = lambda code: [sys.executable, "-c", code]
wanted = is_wanted(json_lines=False)
with ExitStack() as stack:
    outputs = open_outputs(stack) if wanted else None
    launch = CoLaunch(command("print('step 1 of 3'); print('a\\x1b[2J' + chr(13) + 'b', flush=True); " + sys.argv[2]),
                      command("import sys; sys.stdin.read(); print('all reports written')"), outputs=outputs)
    stack.enter_context(show_live_display(find_place(Path(sys.argv[1])), wanted=wanted, outputs=outputs or ()))
    ended = launch.run()
print("ended", ended.exit_code)
"""


@pytest.fixture
def expert(tmp_path: Path) -> FakeExpert:
    return FakeExpert.create(tmp_path / "expert", cases=2)


def _at_a_terminal(expert: FakeExpert, command: list[str]) -> pexpect.spawn[str]:
    environment = {**expert.environment, "TERM": "xterm", "COLUMNS": "100"}
    environment.pop("NO_COLOR", None)
    return pexpect.spawn(
        command[0], command[1:], env=environment, cwd=str(REPOSITORY), dimensions=(30, 100), encoding="utf-8",
        timeout=TIMEOUT_SECONDS,
    )  # fmt: skip


def test_watch_shows_what_it_does_at_a_terminal(expert: FakeExpert) -> None:
    expert.publish(10)
    expert.hold.touch()
    expert.script(hold_after={"10": 1})
    terminal = _at_a_terminal(expert, expert.command("watch", "--once"))
    terminal.expect("checkpoint-10: 1 of 2 cases · 1 passed")
    expert.hold.unlink()
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0
    after = ESCAPES.sub("", terminal.before or "")
    assert "checkpoint-10: 1 of 2 passed (50.0%)" in after  # the log went on above the display
    assert "dashboard: " in after


def test_watch_is_plain_in_a_pipe(expert: FakeExpert) -> None:
    expert.publish(10, 20)
    done = expert.run("watch", "--once")
    assert "\x1b" not in done.stdout + done.stderr
    lines = re.sub(r"^\d\d:\d\d:\d\d", "TIME", done.stderr, flags=re.MULTILINE)
    about = [line for line in lines.splitlines(keepends=True) if "checkpoint-" in line]
    assert "".join(about) == PLAIN_LOG


def test_tables_are_plain_in_a_pipe(expert: FakeExpert) -> None:
    expert.publish(10, 20)
    expert.run("watch", "--once")
    for command in (["status"], ["history"], ["compare", "10", "20"]):
        shown = expert.run(*command).stdout
        assert "\x1b" not in shown
        assert "checkpoint-20" in shown
        assert re.search("[▁▂▃▄▅▆▇█]", shown)
    assert "case-2: ✗✗✓" in expert.run("history", "--case", "case-2").stdout
    assert "close to it: case-" in expert.run("history", "--case", "case-0", code=1).stderr


def test_up_shows_both_at_a_terminal(expert: FakeExpert, tmp_path: Path) -> None:
    """Lines of both processes pass above the display, and what an untrusted line does to a terminal is undone."""
    gate = Gate.create(tmp_path / "gate")
    terminal = _at_a_terminal(expert, [sys.executable, "-c", UP, str(expert.root), gate.wait])
    terminal.expect("step 1 of 3")
    terminal.expect("waiting")
    gate.open()
    terminal.expect(pexpect.EOF)
    terminal.close()
    text = ESCAPES.sub("", terminal.before or "")
    assert "all reports written" in text
    assert "ended 0" in text
    assert "\x1b[2J" not in (terminal.before or "")
