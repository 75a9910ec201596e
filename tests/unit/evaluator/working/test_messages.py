"""What supervisor and worker say to each other survives the pipe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sidestep.evaluator.cases.exchange import Decoding, EngineInfo
from sidestep.evaluator.cases.result import CaseResult, CaseStatus, CheckResult
from sidestep.evaluator.settings import EngineSettings
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
from sidestep.shared.protocol.marker import FileEntry

RESULT = CaseResult(
    id="a", name="name", category="c", status=CaseStatus.FAILED, score=0.0, output="out\ud800",
    checks=(CheckResult("exact", False, 0.0, "x"),), expected_keywords=("k",),
)  # fmt: skip


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
        Ready(info), CaseDone(7, RESULT), Progress("x", 3, 7),
        Finished(1.0, 2.0, number=7), Failed(FailureKind.ATTEMPT, "m", None, 7, True),
    ]  # fmt: skip
    for event in events:
        assert encode(decode_event(encode(event))) == encode(event)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="kind"):
        decode_event(b'{"kind": "exec"}')
