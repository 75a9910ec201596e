from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from sidestep.shared.protocol.layout import MARKER_NAME, ModelFolder
from sidestep.shared.protocol.marker import InvalidMarker, Marker, parse_marker
from sidestep.shared.protocol.outbox import (
    OutboxLimits,
    enforce_limits,
    held_entries,
    over_limit,
    remove,
    sweep_leftovers,
    tombstones,
)
from tests.fakes.checkpoints import publish_checkpoint, write_checkpoint


@pytest.fixture
def model(tmp_path: Path) -> ModelFolder:
    return ModelFolder(tmp_path / "tiny")


def test_published_files_outlive_rotation_and_rewriting(model: ModelFolder) -> None:
    marker = publish_checkpoint(model, 10)
    (model.checkpoint(10) / "adapter_config.json").write_text("{}")  # rewritten in place by a later save
    for path in model.checkpoint(10).iterdir():
        path.unlink()
    model.checkpoint(10).rmdir()
    [held] = held_entries(model)
    assert held.marker == marker
    assert held.path.name == f"10-{marker.files_hash[:12]}"
    assert (held.path / "adapter_config.json").read_text() == '{"peft_type": "LORA"}'


def test_weights_become_readable_for_another_user(model: ModelFolder) -> None:
    publish_checkpoint(model, 10)
    [held] = held_entries(model)
    weights = held.path / "adapter_model.safetensors"
    assert weights.stat().st_mode & 0o777 == 0o644
    assert weights.stat().st_nlink == 2
    assert held.path.stat().st_mode & 0o055 == 0o055


def test_weights_are_copied_where_links_are_not_possible(model: ModelFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def cross_device(*args: object, **kwargs: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", cross_device)
    publish_checkpoint(model, 10)
    [held] = held_entries(model)
    copy = held.path / "adapter_model.safetensors"
    assert copy.stat().st_nlink == 1
    assert copy.read_bytes() == (model.checkpoint(10) / copy.name).read_bytes()


def test_a_failed_publish_leaves_nothing_under_a_final_name(model: ModelFolder) -> None:
    folder = write_checkpoint(model, 10)
    (folder / "adapter_config.json").unlink()
    (folder / "adapter_config.json").symlink_to("/etc/passwd")
    with pytest.raises(OSError, match="symbolic link"):
        publish_unchanged(model, folder)
    assert list(model.outbox.iterdir()) == []
    assert not (folder / MARKER_NAME).exists()


def publish_unchanged(model: ModelFolder, folder: Path) -> None:
    from sidestep.shared.protocol.outbox import stage

    stage(model, folder, lambda files: Marker(run_id="test", step=10, files=files))


def test_publishing_the_same_files_twice_is_one_entry(model: ModelFolder) -> None:
    first = publish_checkpoint(model, 10)
    second = publish_checkpoint(model, 10)
    assert first.files_hash == second.files_hash
    assert len(held_entries(model)) == 1


def test_over_the_limit_the_oldest_unevaluated_become_tombstones(model: ModelFolder) -> None:
    for step in (10, 20, 30, 40):
        publish_checkpoint(model, step)
    dropped = enforce_limits(model, OutboxLimits(entries=2), lambda marker: marker.step == 20)
    assert [held.marker.step for held in dropped] == [10]
    assert [held.marker.step for held in held_entries(model)] == [30, 40]
    assert [stone.marker.step for stone in tombstones(model)] == [10]
    assert enforce_limits(model, OutboxLimits(entries=2), lambda marker: marker.step == 10) == []
    assert tombstones(model) == []


@pytest.mark.parametrize(
    ("sizes", "limits", "dropped"),
    [
        ([1, 1, 1], OutboxLimits(3, 10), []),
        ([1, 1, 1], OutboxLimits(2, 10), [0]),
        ([5, 5, 5], OutboxLimits(9, 10), [0]),
        ([5, 5, 11], OutboxLimits(9, 10), [0, 1]),
        ([50], OutboxLimits(0, 0), []),
    ],
)
def test_over_limit(sizes: list[int], limits: OutboxLimits, dropped: list[int]) -> None:
    entries = list(enumerate(sizes))
    assert over_limit(entries, limits) == dropped  # type: ignore[arg-type]


def test_leftovers_of_a_killed_publisher_are_no_work_and_are_swept(model: ModelFolder) -> None:
    publish_checkpoint(model, 10)
    (model.outbox / "tmp-dead").mkdir()
    (model.outbox / "5-0123456789ab").mkdir()  # an entry without marker
    (model.outbox / "7-0123456789ab").mkdir()
    (model.outbox / "7-0123456789ab" / MARKER_NAME).write_text("{")
    assert [held.marker.step for held in held_entries(model)] == [10]
    sweep_leftovers(model)
    assert not (model.outbox / "tmp-dead").exists()
    [held] = held_entries(model)
    remove(held.path)
    remove(held.path)
    assert held_entries(model) == []


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "document"),
        (b"[]", "document"),
        (b'{"run_id": "a", "step": 1, "files": []}', "files"),
        (b'{"schema_version": 2, "run_id": "a", "step": 1, "files": []}', "schema version 2"),
        (b'{"run_id":"a","step":-1,"files":[{"name":"x","size":1,"sha256":"' + b"0" * 64 + b'"}]}', "step: -1 is not"),
        (b'{"run_id":"a","step":1,"files":[{"name":"../x","size":1,"sha256":"' + b"0" * 64 + b'"}]}', "files.0.name"),
        (
            b'{"run_id":"a","step":1,"files":['
            + b",".join([b'{"name":"x","size":1,"sha256":"' + b"0" * 64 + b'"}'] * 2)
            + b"]}",
            "listed twice",
        ),
    ],
)
def test_invalid_markers(content: bytes, reason: str) -> None:
    with pytest.raises(InvalidMarker, match=reason):
        parse_marker(content)


def test_marker_survives_its_own_writing(model: ModelFolder) -> None:
    marker = publish_checkpoint(model, 10)
    assert parse_marker((model.checkpoint(10) / MARKER_NAME).read_bytes()) == marker
