"""Faults of docs/protocol.md, injected into real processes: kills, stops, damage, hostile files."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from sidestep.shared.protocol.layout import MARKER_NAME
from sidestep.shared.protocol.presence import evaluators_present
from tests.fakes.expert import TIMEOUT_SECONDS, FakeExpert, labels, read_until, wait_until


@pytest.fixture
def expert(tmp_path: Path) -> Iterator[FakeExpert]:
    with FakeExpert.create(tmp_path / "expert") as expert:
        yield expert


def _hold_in_the_middle(expert: FakeExpert, step: int, after: int = 2, silent: bool = False) -> None:
    expert.hold = expert.root / ("hold.silent" if silent else "hold")
    expert.hold.touch()
    expert.script(hold_after={str(step): after})


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _worker_of(pid: int) -> int:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    assert len(children) == 1, children
    return int(children[0])


def _catches(pid: int, number: signal.Signals) -> bool:
    """Whether a process has a handler of its own for a signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    (caught,) = [line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:")]
    return bool(int(caught, 16) >> (number - 1) & 1)


def test_killed_in_the_middle_of_a_checkpoint(expert: FakeExpert) -> None:
    """Fault 3 and must-show 3: one outcome each, finished cases are not run again, the worker dies too."""
    expert.publish(10, 20, 30)
    _hold_in_the_middle(expert, 20)
    process = expert.start("watch")
    read_until(process, "checkpoint-20: 2 of 4")
    worker = _worker_of(process.pid)
    process.kill()
    process.communicate()
    wait_until(lambda: not _is_alive(worker), "the worker is gone")
    expert.hold.unlink()
    expert.run("watch", "--once")
    assert set(expert.outcomes().values()) == {"evaluated"}
    assert set(expert.outcomes()) == {"base", "checkpoint-10", "checkpoint-20", "checkpoint-30"}
    assert set(Counter(expert.answered()).values()) == {1}
    assert not list(expert.reports.root.glob(".attempts/*"))


def test_sigterm_in_the_middle_keeps_finished_cases_and_releases_the_claim(expert: FakeExpert) -> None:
    """Fault 31."""
    expert.publish(10)
    _hold_in_the_middle(expert, 10)
    process = expert.start("watch")
    read_until(process, "checkpoint-10: 2 of 4")
    process.terminate()
    _, log = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == 0, log
    assert expert.outcomes() == {}
    expert.hold.unlink()
    expert.run("watch", "--once")
    assert Counter(expert.answered())["10 case-1"] == 1
    assert expert.outcomes()["checkpoint-10"] == "evaluated"


@pytest.mark.parametrize(
    ("second", "how"), [(signal.SIGINT, "by Python's handler"), (signal.SIGTERM, "by the system's")]
)
def test_second_signal_ends_at_once(expert: FakeExpert, second: signal.Signals, how: str) -> None:
    """The evaluator cannot heed the first one: somebody else holds the lock without which it cannot commit."""
    expert.publish(10)
    _hold_in_the_middle(expert, 10, after=3)
    process = expert.start("watch")
    read_until(process, "checkpoint-10: 3 of 4")
    with FileLock(expert.reports.root / ".commit.lock"):
        expert.hold.unlink()
        wait_until(lambda: len(expert.answered()) == 4, "the last case is answered")
        assert _catches(process.pid, signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        wait_until(lambda: not _catches(process.pid, signal.SIGTERM), "the handlers from before are back")
        assert evaluators_present(expert.reports)  # and it still works: they are not back because it has ended
        process.send_signal(second)
        _, log = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode in ((-second, 130, 1) if second is signal.SIGINT else (-second,)), log
    assert "stopped; finished cases are kept" not in log  # what the first one alone leads to
    assert expert.outcomes() == {}
    expert.script()
    expert.run("watch", "--once")
    assert set(Counter(expert.answered()).values()) == {1}  # what was finished is not run again


def test_a_checkpoint_that_kills_its_worker_three_times_ends_as_error(expert: FakeExpert) -> None:
    """Fault 30."""
    expert.publish(10, 20, 30)
    expert.script(die=["20"])
    expert.run("watch", "--until-idle", "1", "--poll-seconds", "0.1", "--retry-seconds", "0.1")
    assert expert.outcomes() == {
        "base": "evaluated", "checkpoint-10": "evaluated", "checkpoint-20": "error", "checkpoint-30": "evaluated",
    }  # fmt: skip
    assert "killed by signal 9" in expert.report("checkpoint-20")["reason"]


def test_an_unexpected_error_costs_an_attempt_and_the_worker(expert: FakeExpert) -> None:
    expert.publish(10, 20)
    expert.script(fail={"20": "bug"})
    done = expert.run("watch", "--once", "--retry-seconds", "0.1")
    assert done.stderr.count("unexpected error in the worker") == 3
    assert expert.outcomes() == {"base": "evaluated", "checkpoint-10": "evaluated", "checkpoint-20": "error"}


def test_hung_generation_is_killed_and_counted(expert: FakeExpert) -> None:
    """Fault 29."""
    expert.publish(10)
    _hold_in_the_middle(expert, 10, after=1, silent=True)
    done = expert.run("watch", "--once", "--stall-timeout", "3", "--retry-seconds", "0.1")
    assert "made no progress" in done.stderr
    assert Counter(expert.answered())["10 case-1"] == 1  # it was answering, not starting
    assert expert.outcomes()["checkpoint-10"] == "error"


@pytest.mark.parametrize("damage", ["truncated", "zero tail", "one bit"])
def test_damaged_weights_are_rejected_before_loading(expert: FakeExpert, damage: str) -> None:
    """Fault 9."""
    expert.publish(10)
    path = expert.model.checkpoint(10) / "adapter_model.safetensors"  # the outbox holds a link to the same file
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        content = content[:-1]
    elif damage == "zero tail":
        content[-16:] = bytes(16)
    else:
        content[-3] ^= 1
    path.write_bytes(content)
    expert.run("watch", "--once")
    assert expert.outcomes()["checkpoint-10"] == "rejected"
    assert "10" not in labels(expert.answered())
    assert expert.report("checkpoint-10")["test_results"]["total"] == 0


def test_a_damaged_hold_falls_back_to_the_checkpoint_folder(expert: FakeExpert) -> None:
    expert.publish(10)
    [entry] = expert.model.outbox.iterdir()
    (entry / "adapter_config.json").write_text("{}")
    expert.run("watch", "--once")
    assert expert.outcomes()["checkpoint-10"] == "evaluated"


def test_files_that_are_gone_end_as_vanished(expert: FakeExpert) -> None:
    """Fault 20."""
    expert.publish(10)
    for path in (*expert.model.outbox.iterdir(), expert.model.checkpoint(10)):
        (path / "adapter_model.safetensors").unlink()
    expert.run("watch", "--once")
    assert expert.outcomes()["checkpoint-10"] == "vanished"


def test_two_evaluators_share_the_work_and_commit_everything_once(expert: FakeExpert) -> None:
    """Fault 7, small."""
    steps = range(10, 310, 10)
    expert.publish(*steps)
    processes = [expert.start("watch", "--until-idle", "1", "--poll-seconds", "0.2") for _ in range(3)]
    logs = [process.communicate(timeout=TIMEOUT_SECONDS)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], logs
    assert set(expert.outcomes()) == {"base", *(f"checkpoint-{step}" for step in steps)}
    assert not expert.reports.archive.exists()
    commits = Counter(line.split()[2] for log in logs for line in log.splitlines() if " passed (" in line)
    assert set(commits.values()) == {1}


def test_foreign_names_links_and_fifos_are_no_checkpoints(expert: FakeExpert) -> None:
    """Faults 15 and 16."""
    expert.publish(10)
    outside = expert.root / "outside"
    outside.mkdir()
    (expert.model.root / "checkpoint-20").symlink_to(outside)
    (expert.model.root / "checkpoint-20.x").mkdir()
    (expert.model.root / ("checkpoint-" + "1" * 200)).mkdir()
    (expert.model.root / "checkpoint-30\n").mkdir()
    fifo = expert.model.checkpoint(40)
    fifo.mkdir()
    os.mkfifo(fifo / MARKER_NAME)
    link = expert.model.checkpoint(50)
    link.mkdir()
    (link / MARKER_NAME).symlink_to("/etc/passwd")
    expert.run("watch", "--once")
    assert expert.outcomes() == {
        "base": "evaluated", "checkpoint-10": "evaluated", "checkpoint-40": "rejected", "checkpoint-50": "rejected",
    }  # fmt: skip


def test_pickles_are_never_opened(expert: FakeExpert) -> None:
    """Fault 17: a pickle that would leave a trace when loaded."""
    expert.publish(10)
    trace = expert.root / "trace"
    canary = b"cos\nsystem\n(S'touch " + str(trace).encode() + b"'\ntR."
    for path in (*expert.model.outbox.iterdir(), expert.model.checkpoint(10)):
        for name in ("training_args.bin", "optimizer.pt", "rng_state.pth", "adapter_model.bin"):
            (path / name).write_bytes(canary)
    expert.run("watch", "--once")
    assert expert.outcomes()["checkpoint-10"] == "evaluated"
    assert not trace.exists()


def test_reports_that_cannot_be_written_are_one_clear_error(expert: FakeExpert) -> None:
    """Fault 32: when the reports folder is a file, say."""
    expert.publish(10)
    expert.reports.root.write_text("in the way")
    done = expert.run("watch", "--once", code=1)
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr
    expert.reports.root.unlink()
    expert.run("watch", "--once")
    assert expert.outcomes()["checkpoint-10"] == "evaluated"


def test_the_evaluator_changes_nothing_in_checkpoint_folders(expert: FakeExpert) -> None:
    """I5."""
    expert.publish(10, 20)
    folders = [expert.model.checkpoint(10), expert.model.checkpoint(20)]
    before = {path: path.lstat().st_mtime_ns for folder in folders for path in (folder, *folder.iterdir())}
    expert.run("watch", "--once")
    assert {path: path.lstat().st_mtime_ns for folder in folders for path in (folder, *folder.iterdir())} == before


def test_weights_may_be_read_only(expert: FakeExpert, tmp_path: Path) -> None:
    """Fault 32 as far as one user can show it: with the reports elsewhere, nothing is written to the weights."""
    expert.publish(10)
    before = sorted(str(path) for path in (expert.root / "weights").rglob("*"))
    elsewhere = tmp_path / "reports"
    for folder in (expert.model.outbox, expert.model.root):
        folder.chmod(0o555)
    try:
        expert.run("watch", "--once", "--reports-dir", str(elsewhere))
    finally:
        for folder in (expert.model.outbox, expert.model.root):
            folder.chmod(0o755)
    assert json.loads((elsewhere / "checkpoint-10" / "report.json").read_text())["outcome"] == "evaluated"
    if os.getuid() != 0:  # root may write anywhere, and then prunes the outbox
        assert sorted(str(path) for path in (expert.root / "weights").rglob("*")) == before


def test_overtaken_claim_holder_does_not_commit_twice(expert: FakeExpert) -> None:
    """Fault 8: the first evaluator is stopped; its claim is broken by hand; the second one commits; the first loses."""
    expert.publish(10)
    _hold_in_the_middle(expert, 10, after=3)
    first = expert.start("watch", "--until-idle", "1", "--poll-seconds", "0.1")
    read_until(first, "checkpoint-10: 3 of 4")
    first.send_signal(signal.SIGSTOP)
    for lock in expert.reports.claims.iterdir():
        lock.unlink()
    expert.script()
    expert.run("watch", "--once")
    committed = expert.report("checkpoint-10")
    expert.hold.unlink()
    first.send_signal(signal.SIGCONT)
    _, log = first.communicate(timeout=TIMEOUT_SECONDS)
    assert first.returncode == 0, log
    assert "another evaluator was first" in log
    assert expert.report("checkpoint-10")["timing"] == committed["timing"]
    assert not expert.reports.archive.exists()
