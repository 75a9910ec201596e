"""outcome.json: one record, read by the publisher and the evaluator alike."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from sidestep.shared.protocol.identity import CheckpointKey, Identity
from sidestep.shared.protocol.layout import OUTCOME_NAME, ReportsFolder
from sidestep.shared.protocol.outcomes import Outcome, OutcomeRecord, is_settled, parse_outcome

KEY = CheckpointKey("tiny", 5, "a" * 64)
RECORD = OutcomeRecord(
    checkpoint="checkpoint-5", outcome=Outcome.REJECTED, reason="one bit flipped", identity=Identity(KEY, "s", "d")
)


def _put(folder: Path, content: bytes) -> None:
    folder.mkdir(parents=True)
    (folder / OUTCOME_NAME).write_bytes(content)


def test_an_outcome_is_read_as_it_was_written() -> None:
    assert parse_outcome(RECORD.to_bytes()) == RECORD
    document = json.loads(RECORD.to_bytes())
    assert document["identity"] == {
        "model_folder": "tiny", "step": 5, "manifest_hash": "a" * 64, "suite_hash": "s", "decoding_hash": "d",
        "id": RECORD.identity.id,
    }  # fmt: skip


@pytest.mark.parametrize("changes", [{"outcome": "splendid"}, {"identity": {}}, {"identity": None}, {"checkpoint": 5}])
def test_anything_else_is_none(changes: dict[str, object]) -> None:
    assert parse_outcome(json.dumps(json.loads(RECORD.to_bytes()) | changes).encode()) is None


@pytest.mark.parametrize("place", ["checkpoint-5", "archive/1.0/tiny/checkpoint-5", "archive/1.0/tiny/checkpoint-5.2"])
def test_an_outcome_is_found_in_its_place_and_in_the_archive(tmp_path: Path, place: str) -> None:
    _put(tmp_path / place, RECORD.to_bytes())
    reports = ReportsFolder(tmp_path)
    assert is_settled(reports, KEY)
    assert not is_settled(reports, CheckpointKey("tiny", 5, "b" * 64))
    assert not is_settled(reports, CheckpointKey("other", 5, "a" * 64))
    assert not is_settled(reports, CheckpointKey("tiny", 6, "a" * 64))


@pytest.mark.parametrize("outcome", Outcome)
def test_held_files_may_go_only_when_nobody_needs_them_any_more(tmp_path: Path, outcome: Outcome) -> None:
    _put(tmp_path / "checkpoint-5", replace(RECORD, outcome=outcome).to_bytes())
    assert is_settled(ReportsFolder(tmp_path), KEY) is (outcome not in (Outcome.ERROR, Outcome.VANISHED))


def test_an_outcome_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    _put(tmp_path / "checkpoint-5", b"{")
    assert not is_settled(ReportsFolder(tmp_path), KEY)


def test_the_label_is_the_name_of_the_reports_folder() -> None:
    assert KEY.label == "checkpoint-5"
    assert CheckpointKey("tiny", None, "fingerprint").label == "base"
