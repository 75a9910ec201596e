"""I6: only what is true of a checkpoint ends it; the evaluator's own mistakes leave it pending, held, and are said."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.expert import REPOSITORY, TIMEOUT_SECONDS, FakeExpert, read_until


@pytest.fixture
def expert(tmp_path: Path) -> Iterator[FakeExpert]:
    with FakeExpert.create(tmp_path / "expert") as expert:
        expert.publish(10, 20, 30)
        yield expert


def _held(expert: FakeExpert) -> list[str]:
    return sorted(path.name.partition("-")[0] for path in expert.model.outbox.iterdir())


def _rotate(expert: FakeExpert, *steps: int) -> None:
    """What the training does meanwhile: from here the outbox alone has these checkpoints."""
    for step in steps:
        folder = expert.model.checkpoint(step)
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()


def _assert_all_pending(expert: FakeExpert, done: subprocess.CompletedProcess[str]) -> None:
    assert "Traceback" not in done.stderr
    assert expert.outcomes() == {}
    assert _held(expert) == ["10", "20", "30"]


def _assert_all_evaluated(expert: FakeExpert) -> None:
    assert expert.outcomes() == dict.fromkeys(
        ["base", "checkpoint-10", "checkpoint-20", "checkpoint-30"], "evaluated"
    )  # fmt: skip
    assert _held(expert) == []


def test_a_base_model_that_does_not_fit(expert: FakeExpert) -> None:
    expert.script(fail={"10": "unfit", "20": "unfit", "30": "unfit"})
    _rotate(expert, 10, 20)
    done = expert.run("watch", "--once", code=1)
    assert "does not fit the base model" in done.stderr
    assert "3 left pending (checkpoint-30, checkpoint-20, checkpoint-10)" in done.stderr
    assert {name for name in expert.outcomes() if name != "base"} == set()
    assert _held(expert) == ["10", "20", "30"]
    expert.script()
    expert.run("watch", "--once")
    _assert_all_evaluated(expert)


def test_a_forced_rerun_with_a_base_model_that_does_not_fit_replaces_nothing(expert: FakeExpert) -> None:
    expert.run("watch", "--once")
    before = expert.report("checkpoint-20")
    expert.script(fail={"10": "unfit", "20": "unfit", "30": "unfit"})
    expert.run("rerun", "--force", code=1)
    assert expert.report("checkpoint-20") == before
    assert not expert.reports.archive.exists()


@pytest.mark.parametrize(
    ("suite", "said"),
    [
        (None, "does not exist"),
        ({"test_cases": []}, "has no test cases"),
        ({"test_cases": [{"id": "a", "prompt": "say it"}]}, "has no test case that can be checked"),
    ],
)
def test_a_suite_that_cannot_decide_anything(expert: FakeExpert, suite: object, said: str) -> None:
    path = expert.root / "mistyped.json"
    if suite is not None:
        path.write_text(json.dumps(suite))
    _rotate(expert, 10, 20)
    done = expert.run("watch", "--once", "--suite", str(path), code=1)
    assert said in done.stderr
    assert "3 left pending" in done.stderr
    _assert_all_pending(expert, done)
    expert.run("watch", "--once")
    _assert_all_evaluated(expert)


def test_a_suite_that_is_missing_for_one_scan_sends_nothing_to_the_archive(expert: FakeExpert) -> None:
    expert.run("watch", "--once")
    suite = expert.root / "tests" / "test_cases.json"
    content = suite.read_bytes()
    process = expert.start("watch", "--poll-seconds", "0.1")
    suite.unlink()
    read_until(process, "nothing to test")
    suite.write_bytes(content)
    expert.publish(40)
    read_until(process, "checkpoint-40: 1 of 4 passed")
    process.terminate()
    process.communicate(timeout=TIMEOUT_SECONDS)
    assert set(expert.outcomes().values()) == {"evaluated"}
    assert not expert.reports.archive.exists()


def test_a_run_that_waits_for_test_cases_evaluates_when_they_come(expert: FakeExpert) -> None:
    suite = expert.root / "tests" / "test_cases.json"
    content = suite.read_bytes()
    suite.unlink()
    process = expert.start("watch", "--poll-seconds", "0.1")
    read_until(process, "nothing to test")
    suite.write_bytes(content)
    read_until(process, "checkpoint-10: 1 of 4 passed")
    process.terminate()
    process.communicate(timeout=TIMEOUT_SECONDS)
    assert {f"checkpoint-{step}" for step in (10, 20, 30)} <= set(expert.outcomes())


@pytest.mark.parametrize("missing", ["scipy", "re2", "orjson_of_the_worker"])
def test_a_package_that_is_missing_in_the_worker(expert: FakeExpert, tmp_path: Path, missing: str) -> None:
    """Everything that evaluations need is imported before anything is claimed."""
    shadow = tmp_path / "shadow"
    shadow.mkdir()
    name = "scipy" if missing == "orjson_of_the_worker" else missing
    (shadow / f"{name}.py").write_text(f"raise ImportError('no {name} here')")
    done = subprocess.run(
        expert.command("watch", "--once"), env={**expert.environment, "PYTHONPATH": f"{shadow}:{REPOSITORY}"},
        cwd=tmp_path, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert f"no {name} here" in done.stderr
    assert expert.outcomes() == {}
    assert _held(expert) == ["10", "20", "30"]
    assert not list(expert.reports.attempts.glob("*/failure-*"))
    expert.run("watch", "--once")
    _assert_all_evaluated(expert)


def test_a_worker_that_dies_on_every_checkpoint_ends_the_evaluator(expert: FakeExpert) -> None:
    expert.script(die=["10", "20", "30"])
    done = expert.run("watch", "--once", "--retry-seconds", "0.05", code=1)
    assert "no checkpoint can be evaluated" in done.stderr
    _assert_all_pending(expert, done)
    assert not list(expert.reports.attempts.glob("*/failure-*"))
    expert.script()
    expert.run("watch", "--once")
    _assert_all_evaluated(expert)


def test_a_worker_that_dies_on_everything_ends_the_evaluator(tmp_path: Path) -> None:
    expert = FakeExpert.create(tmp_path / "expert")
    expert.publish(10)
    expert.script(die=["10", "base"])
    done = expert.run("watch", "--once", "--retry-seconds", "0.05", code=1)
    assert "nothing can be evaluated" in done.stderr
    assert expert.outcomes() == {}
    assert len(list(expert.model.outbox.iterdir())) == 1


def test_the_only_checkpoint_kills_its_worker_and_the_base_model_does_not(tmp_path: Path) -> None:
    """Then it is the checkpoint's fault; its files stay, for whoever mends what it met."""
    expert = FakeExpert.create(tmp_path / "expert")
    expert.publish(10)
    expert.script(die=["10"])
    expert.run("watch", "--once", "--retry-seconds", "0.05")
    assert expert.outcomes() == {"checkpoint-10": "error", "base": "evaluated"}
    assert len(list(expert.model.outbox.iterdir())) == 1
    expert.script()
    expert.run("rerun", "--force")
    assert expert.outcomes()["checkpoint-10"] == "evaluated"
    assert list(expert.model.outbox.iterdir()) == []


def test_a_deadline_that_nothing_can_meet(expert: FakeExpert) -> None:
    expert.script(late_after=dict.fromkeys(["base", "10", "20", "30"], 0))
    done = expert.run("watch", "--once", "--deadline", "1800", code=1)
    assert "the deadline of 1800 s passed" in done.stderr
    _assert_all_pending(expert, done)


def test_files_of_another_checkpoint_never_stand_in_a_report(expert: FakeExpert) -> None:
    """A case that could not be written leaves the worker answering: what it still says belongs to nobody."""
    expert.hold = expert.root / "hold"
    limited = subprocess.run(
        [sys.executable, "-c", _FULL_DISK, str(expert.root / "limit"), *expert.command("watch", "--once")],
        env=expert.environment, cwd=REPOSITORY, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False,
    )  # fmt: skip
    assert limited.returncode == 1
    expert.run("watch", "--once")
    for step in (10, 20, 30):
        assert {case["output"] for case in expert.report(f"checkpoint-{step}")["test_cases"]} == {str(step)}


_FULL_DISK = """
import resource, runpy, sys, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))
sys.argv = sys.argv[4:]
runpy.run_module("sidestep.evaluator", run_name="__main__", alter_sys=True)
"""
