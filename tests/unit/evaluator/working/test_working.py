"""The supervisor's parts without processes: planning, attempts, messages, presence, verification, worker's errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sidestep.evaluator.cases.exchange import Decoding, EngineInfo
from sidestep.evaluator.cases.result import CaseResult, CaseStatus, CheckResult
from sidestep.evaluator.settings import EngineSettings
from sidestep.evaluator.watching.scan import Candidate
from sidestep.evaluator.watching.tasks import Conditions, pending_tasks
from sidestep.evaluator.working.attempts import count_finished_cases, open_attempt
from sidestep.evaluator.working.messages import (
    Assignment,
    CaseDone,
    Failed,
    FailureKind,
    Finished,
    Progress,
    Ready,
    Start,
    decode_command,
    decode_event,
    encode,
)
from sidestep.evaluator.working.verify import verified_sources
from sidestep.evaluator.working.worker import failure_of
from sidestep.shared import errors
from sidestep.shared.commands.choices import Order
from sidestep.shared.protocol.checkpoint import describe_files
from sidestep.shared.protocol.identity import CheckpointKey, Identity
from sidestep.shared.protocol.layout import ModelFolder, ReportsFolder
from sidestep.shared.protocol.marker import FileEntry
from tests.fakes.checkpoints import write_checkpoint

CONDITIONS = Conditions("suite", "decoding")
RESULT = CaseResult(
    id="a", name="name", category="c", status=CaseStatus.FAILED, score=0.0, output="out\ud800",
    checks=(CheckResult("exact", False, 0.0, "x"),), expected_keywords=("k",),
)  # fmt: skip


def _candidate(step: int, *, model: str = "tiny", skipped: str | None = None) -> Candidate:
    return Candidate(CheckpointKey(model, step, f"hash-{step}"), () if skipped else (Path("x"),), skipped=skipped)


@pytest.mark.parametrize(("order", "steps"), [(Order.NEWEST, [5, 30, 20, 10]), (Order.OLDEST, [5, 10, 20, 30])])
def test_order_of_work(order: Order, steps: list[int]) -> None:
    candidates = [_candidate(20), _candidate(10), _candidate(30), _candidate(5, skipped="gone")]
    tasks = pending_tasks(candidates, CONDITIONS, set(), order)
    assert [task.identity.key.step for task in tasks] == steps  # what needs only a note comes first


def test_what_has_an_outcome_is_not_pending() -> None:
    done = {CONDITIONS.task(_candidate(10)).identity.id}
    tasks = pending_tasks([_candidate(10), _candidate(20)], CONDITIONS, done, Order.NEWEST)
    assert [task.identity.key.step for task in tasks] == [20]
    other = Conditions("another suite", "decoding")
    assert len(pending_tasks([_candidate(10)], other, done, Order.NEWEST)) == 1


def test_base_is_done_by_name_until_the_engine_can_tell() -> None:
    info = EngineInfo(base_model="x", base_fingerprint="f" * 64, device="cpu", dtype="float32")
    task = CONDITIONS.base_task("tiny", info.base_fingerprint)
    assert CONDITIONS.has_base("tiny", [task.identity])
    assert not CONDITIONS.has_base("other", [task.identity])
    assert not Conditions("another", "decoding").has_base("tiny", [task.identity])


def test_identities_differ_in_every_part() -> None:
    parts: list[tuple[str, int | None, str, str, str]] = [
        ("a", 1, "b", "c", "d"), ("x", 1, "b", "c", "d"), ("a", 2, "b", "c", "d"), ("a", None, "b", "c", "d"),
        ("a", 1, "x", "c", "d"), ("a", 1, "b", "x", "d"), ("a", 1, "b", "c", "x"),
    ]  # fmt: skip
    identities = {Identity(CheckpointKey(*part[:3]), *part[3:]).id for part in parts}
    assert len(identities) == len(parts)


def _assignment(**changes: Any) -> Assignment:
    values: dict[str, Any] = {
        "label": "base", "sources": (), "files": None, "suite_path": Path("/s"), "suite_sha256": "h",
        "decoding": Decoding(stop=("a",)),
    }  # fmt: skip
    return Assignment(**{**values, **changes})


def test_messages_survive_the_pipe() -> None:
    file = FileEntry(name="x", size=1, sha256="0" * 64)
    commands = [
        Start("module:function", EngineSettings("/m", options=(("a", 1),))),
        _assignment(label="checkpoint-1", sources=(Path("/x"),), files=(file,), done=("b",)),
        _assignment(),
    ]
    for command in commands:
        line = encode(command)  # type: ignore[arg-type]
        assert line.count(b"\n") == 1
        assert json.loads(line)["kind"] == command.kind  # type: ignore[attr-defined]
        assert encode(decode_command(line)) == line
    info = EngineInfo(base_model="x", device="cpu", versions={"a": "1"}, notes=("n",), exact=True)
    events = [
        Ready(info), CaseDone(RESULT), Progress("x", 3),
        Finished(1.0, 2.0), Failed(FailureKind.ATTEMPT, "m", None, True),
    ]  # fmt: skip
    for event in events:
        assert encode(decode_event(encode(event))) == encode(event)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="kind"):
        decode_event(b'{"kind": "exec"}')


def test_attempts_keep_cases_and_count_failures(tmp_path: Path) -> None:
    reports, identity = ReportsFolder(tmp_path), Identity(CheckpointKey("m", 1, "h"), "s", "d")
    with open_attempt(reports, identity) as attempt:
        attempt.add(RESULT)
        assert attempt.record_failure("x") == 1
    [file] = (tmp_path / ".attempts" / identity.id).glob("cases-*.jsonl")
    file.write_bytes(file.read_bytes() + b'{"id": "torn')
    with open_attempt(reports, identity) as again:
        assert list(again.finished) == ["a"]
        assert again.finished["a"].output == "out?"
        assert again.failures == 1
    assert count_finished_cases(reports, identity) == 1
    with open_attempt(reports, identity, fresh=True) as fresh:
        assert (fresh.finished, fresh.failures) == ({}, 0)
        fresh.forget()
    assert not reports.attempts.exists()


def test_sources_are_verified_in_turn(tmp_path: Path) -> None:
    good = write_checkpoint(ModelFolder(tmp_path / "a"), 1)
    changed = write_checkpoint(ModelFolder(tmp_path / "b"), 1, salt=1)
    files = describe_files(good)
    assert list(verified_sources_until_end([tmp_path / "none", good], files)) == [good]
    with pytest.raises(errors.CheckpointRejected, match="other content"):
        list(verified_sources([tmp_path / "none", changed], files))
    with pytest.raises(errors.CheckpointVanished):
        list(verified_sources([tmp_path / "none"], files))


def verified_sources_until_end(sources: list[Path], files: tuple[FileEntry, ...]) -> list[Path]:
    """Sources that were offered; being exhausted afterwards is not the point here."""
    offered = []
    try:
        for source in verified_sources(sources, files):
            offered.append(source)
    except errors.CheckpointVanished:
        pass
    return offered


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (errors.CheckpointRejected("x"), FailureKind.REJECTED),
        (errors.CheckpointVanished("x"), FailureKind.VANISHED),
        (errors.BaseModelError("x"), FailureKind.FATAL),
        (errors.ConfigError("x"), FailureKind.FATAL),
        (errors.DeviceOutOfMemory("x"), FailureKind.ATTEMPT),
        (errors.SuiteError("x"), FailureKind.ATTEMPT),
    ],
)
def test_kinds_of_failure(error: errors.SidestepError, failure: FailureKind) -> None:
    assert failure_of(error).failure is failure
