"""The evaluator's commands as processes, with a table for a model: what is evaluated, when, and how it ends."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidestep.shared.protocol.layout import ModelFolder
from tests.fakes.checkpoints import write_checkpoint
from tests.fakes.expert import TIMEOUT_SECONDS, FakeExpert, labels, read_until


@pytest.fixture
def expert(tmp_path: Path) -> Iterator[FakeExpert]:
    with FakeExpert.create(tmp_path / "expert") as expert:
        yield expert


def test_started_after_training_everything_published_is_evaluated_newest_first(expert: FakeExpert) -> None:
    expert.publish(10, 20, 30)
    for path in sorted(expert.model.checkpoint(10).iterdir()):
        path.unlink()
    expert.model.checkpoint(10).rmdir()  # rotated away
    expert.run("watch", "--once")
    assert expert.outcomes() == dict.fromkeys(["base", "checkpoint-10", "checkpoint-20", "checkpoint-30"], "evaluated")
    assert labels(expert.answered()) == ["30", "20", "10", "base"]
    assert list(expert.model.outbox.iterdir()) == []


def test_comparisons_are_right_although_predecessors_land_later(expert: FakeExpert) -> None:
    expert.publish(10, 20, 30)
    expert.run("watch", "--once")
    comparison = expert.report("checkpoint-20")["comparison"]
    assert comparison["previous_checkpoint"] == "checkpoint-10"
    assert (comparison["fixed_failures"], comparison["new_failures"]) == (["case-2"], ["case-1"])
    history = json.loads(expert.reports.comparison.read_text())
    assert [result["status"] for result in history["cases"]["case-2"]["results"]] == [
        "failed", "failed", "passed", "failed"
    ]  # fmt: skip


def test_a_second_pass_finds_nothing_to_do(expert: FakeExpert) -> None:
    expert.publish(10)
    expert.run("watch", "--once")
    before = expert.answered()
    expert.run("watch", "--once")
    assert expert.answered() == before


def test_watch_waits_for_the_folder_and_ends_when_drained(expert: FakeExpert) -> None:
    expert.model.root.rmdir()
    expert.model.root.parent.rmdir()
    process = expert.start("watch", "--drain-on-stdin-close", "--poll-seconds", "0.1", stdin=subprocess.PIPE)
    read_until(process, "waiting for")
    expert.publish(10, 20)
    assert process.stdin is not None
    process.stdin.close()
    process.stdin = None
    _, log = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == 0, log
    assert set(expert.outcomes()) == {"base", "checkpoint-10", "checkpoint-20"}


def test_until_idle_evaluates_what_appears_meanwhile(expert: FakeExpert) -> None:
    expert.hold.touch()
    expert.script(hold_after={"base": 1})  # busy for as long as it takes to publish
    process = expert.start("watch", "--until-idle", "0.5", "--poll-seconds", "0.2")
    read_until(process, "base: 1 of 4")
    expert.publish(10)
    expert.hold.unlink()
    _, log = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == 0, log
    assert expert.outcomes()["checkpoint-10"] == "evaluated"


def test_without_test_cases_everything_stays_pending_and_no_model_is_needed(expert: FakeExpert) -> None:
    expert.publish(10)
    (expert.root / "tests" / "test_cases.json").unlink()
    done = expert.run("watch", "--once", code=1)
    assert "nothing to test" in done.stderr
    assert expert.outcomes() == {}
    assert expert.answered() == []


def test_beside_a_training_without_test_cases_nothing_to_test_is_not_a_failure(expert: FakeExpert) -> None:
    """The expert is trained like any other; its checkpoints wait for test cases."""
    expert.publish(10)
    (expert.root / "tests" / "test_cases.json").unlink()
    process = expert.start("watch", "--drain-on-stdin-close", stdin=subprocess.PIPE)
    _, log = process.communicate(timeout=TIMEOUT_SECONDS)  # closes its standard input
    assert process.returncode == 0, log
    assert "nothing to test" in log
    assert expert.outcomes() == {}
    assert len(list(expert.model.outbox.iterdir())) == 1


def test_the_same_step_saved_again_is_another_outcome_and_the_old_one_is_kept(expert: FakeExpert) -> None:
    expert.publish(10)
    expert.run("watch", "--once")
    first = expert.report("checkpoint-10")["identity"]["id"]
    expert.publish(10, salt=1)
    expert.run("watch", "--once")
    assert expert.report("checkpoint-10")["identity"]["id"] != first
    [archived] = expert.reports.archive.glob("0.1.0/tiny/checkpoint-10/report.json")
    assert json.loads(archived.read_text())["identity"]["id"] == first


def test_dropped_from_the_outbox_ends_as_skipped(expert: FakeExpert) -> None:
    from sidestep.shared.protocol.outbox import OutboxLimits, enforce_limits

    expert.publish(10, 20)
    enforce_limits(expert.model, OutboxLimits(entries=1), lambda marker: False)
    for step in (10, 20):
        for path in expert.model.checkpoint(step).iterdir():
            path.unlink()
    expert.run("watch", "--once")
    assert expert.outcomes() == {"base": "evaluated", "checkpoint-10": "skipped", "checkpoint-20": "evaluated"}
    assert "over its limit" in expert.report("checkpoint-10")["reason"]


def test_gates_decide_the_exit_code_only_when_asked(expert: FakeExpert) -> None:
    """Checkpoint 10 passes one case of twenty, 20 another one: no verdict; a forbidden case is refused."""
    expert.write_suite(20)
    expert.publish(10)
    expert.run("watch", "--once", "--fail-on-regression")
    expert.publish(20)
    expert.run("watch", "--once", "--fail-on-regression")
    assert "no difference" in expert.report("checkpoint-20")["comparisons"]["previous"]["verdict"]["word"]
    expert.publish(30)
    done = expert.run("watch", "--once", "--forbid-regression", "all", code=3)
    assert "checkpoint-30 is refused: forbidden regressions since checkpoint-20 0.1.0: broken: case-2" in done.stderr
    expert.run("compare", "10", "20", "--fail-on-regression", "--forbid-regression", "case-1", code=3)
    expert.run("compare", "10", "20", "--fail-on-regression", "--max-drop", "0.1")
    expert.run("compare", "10", "20", "--forbid-regression", "case-1")


def test_a_worse_checkpoint_fails_with_the_verdict_and_cannot_be_shipped(expert: FakeExpert) -> None:
    expert.write_suite(20)
    expert.script(answers={"10": {f"case-{n}": str(10 * n) for n in range(1, 13)}})
    expert.publish(10)
    expert.run("watch", "--once")
    expert.run("gate", "--min-success-rate", "0.6")
    expert.publish(20)
    expert.run("watch", "--once", "--fail-on-regression", code=3)
    expert.run("gate", "--against", "previous", code=3)
    expert.run("gate", "--checkpoint", "best")
    expert.run("gate", "--checkpoint", "best", "--min-category-rate", "uncategorised=0.7", code=3)
    done = expert.run("gate", "--checkpoint", "20", "--against", "best", "--json", code=3)
    assert [gate["passed"] for gate in json.loads(done.stdout)["gates"]] == [False]
    expert.script(fail={"30": "rejected"})
    expert.publish(30)
    expert.run("watch", "--once")
    assert "evaluated: rejected: the table says so" in expert.run("gate", code=3).stdout


def test_gates_in_the_manifest(expert: FakeExpert) -> None:
    expert.manifest(evaluation={"gates": {"min_success_rate": 0.5, "forbidden_regressions": ["case-1"]}})
    expert.publish(10)
    expert.run("watch", "--once")  # nobody asked
    expert.run("gate", code=3)
    expert.publish(20)
    done = expert.run("watch", "--once", "--fail-on-regression", code=3)
    assert "broken: case-1" in done.stderr
    expert.manifest(evaluation={"gates": {"min_rate": 0.5}})
    done = expert.run("gate", code=1)
    assert "evaluation.gates.min_rate" in done.stderr


class TestRerun:
    def test_force_evaluates_again_and_archives_the_old_report(self, expert: FakeExpert) -> None:
        expert.publish(10, 20)
        expert.run("watch", "--once")
        expert.engine_log.unlink()
        expert.run("rerun", "--checkpoints", "10", "--force")
        assert labels(expert.answered()) == ["10"]
        assert len(list(expert.reports.archive.glob("0.1.0/tiny/checkpoint-10*/report.json"))) == 1
        assert expert.outcomes()["checkpoint-10"] == "evaluated"

    def test_without_force_only_what_has_no_report(self, expert: FakeExpert) -> None:
        expert.publish(10)
        expert.run("watch", "--once")
        expert.publish(20)
        expert.engine_log.unlink()
        expert.run("rerun")
        assert labels(expert.answered()) == ["20"]

    def test_unmarked_checkpoints_only_when_accepted_and_complete(self, expert: FakeExpert) -> None:
        write_checkpoint(expert.model, 10)
        broken = write_checkpoint(expert.model, 20)
        (broken / "adapter_model.safetensors").write_bytes(b"short")
        done = expert.run("rerun", code=1)
        assert "--accept-unmarked" in done.stderr
        before = {path: path.stat().st_mtime_ns for path in expert.model.root.rglob("*")}
        done = expert.run("rerun", "--accept-unmarked")
        assert "checkpoint-20 is not evaluated" in done.stderr
        assert expert.outcomes() == {"base": "evaluated", "checkpoint-10": "evaluated"}
        assert {path: path.stat().st_mtime_ns for path in expert.model.root.rglob("*")} == before

    @pytest.mark.parametrize(
        ("arguments", "reason"),
        [(["--checkpoints", "7"], "checkpoint 7 not found"), (["--checkpoints", "x"], "not a list of steps")],
    )
    def test_refuses_what_is_not_there(self, expert: FakeExpert, arguments: list[str], reason: str) -> None:
        expert.publish(10)
        done = expert.run("rerun", *arguments, code=1)
        assert reason in done.stderr
        assert "Traceback" not in done.stderr

    def test_refuses_a_missing_weights_folder(self, expert: FakeExpert) -> None:
        expert.model.root.rmdir()
        expert.model.root.parent.rmdir()
        done = expert.run("rerun", code=1)
        assert "does not exist" in done.stderr


class TestStatus:
    def test_pending_and_ended_as_json(self, expert: FakeExpert) -> None:
        expert.publish(10)
        expert.run("watch", "--once")
        expert.publish(20)
        document = json.loads(expert.run("status", "--json").stdout)
        states = {row["checkpoint"]: row["state"] for row in document["checkpoints"]}
        assert states == {"base": "evaluated", "checkpoint-10": "evaluated", "checkpoint-20": "pending"}
        assert document["evaluators"] == []

    def test_running_evaluator_is_shown_and_healthy(self, expert: FakeExpert) -> None:
        expert.run("health", code=1)
        expert.publish(10)
        expert.hold.touch()
        expert.script(hold_after={"10": 2})
        process = expert.start("watch", "--poll-seconds", "0.1")
        read_until(process, "checkpoint-10: 2 of 4")
        document = json.loads(expert.run("status", "--json").stdout)
        assert [row["state"] for row in document["checkpoints"]] == ["evaluating"]
        assert document["evaluators"][0]["cases"] == 4
        expert.run("health")
        process.terminate()
        process.communicate(timeout=TIMEOUT_SECONDS)
        assert process.returncode == 0
        expert.run("health", code=1)


@pytest.mark.parametrize(
    ("suite", "reason"),
    [
        ("{", "is not valid JSON"),
        ('{"test_cases": [{"id": "a", "prompt": "x"}, {"id": "a", "prompt": "y"}]}', "used by two test cases"),
        ('{"test_cases": [{"id": "a", "prompt": "x", "checks": [{"scorer": "magic"}]}]}', "unknown scorer 'magic'"),
        ('{"test_cases": [{"id": "a"}]}', "has no prompt"),
    ],
)
def test_bad_test_cases_are_one_clear_line(expert: FakeExpert, suite: str, reason: str) -> None:
    expert.publish(10)
    (expert.root / "tests" / "test_cases.json").write_text(suite)
    done = expert.run("watch", "--once", code=1)
    assert reason in done.stderr
    assert "Traceback" not in done.stderr
    assert len(list(expert.model.outbox.iterdir())) == 1  # nothing is lost
    assert expert.outcomes() == {}


def test_missing_base_model_is_one_clear_line(expert: FakeExpert) -> None:
    expert.publish(10)
    expert.base.rmdir()
    done = expert.run("watch", "--once", code=1)
    assert "is not a folder on this machine" in done.stderr
    assert "--base-model" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_plain_output_folder_with_checkpoints_inside(tmp_path: Path) -> None:
    expert = FakeExpert.create(tmp_path / "expert")
    out = tmp_path / "out"
    write_checkpoint(ModelFolder(out), 10)
    suite = str(expert.root / "tests" / "test_cases.json")
    expert.root = out
    expert.run("rerun", "--accept-unmarked", "--suite", suite)
    assert (out / "training_reports" / "checkpoint-10" / "report.json").is_file()
