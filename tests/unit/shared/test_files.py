from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from sidestep.shared.files import (
    NotARegularFile,
    TooLarge,
    open_regular,
    read_bounded,
    replace_file,
    to_json,
    to_json_line,
)


def test_replace_leaves_old_content_when_writing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.json"
    replace_file(path, b"old")

    def no_space(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="No space"):
        replace_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.json"]
    replace_file(path, b"seen a second later anyway", durable=False)  # waits for no disk
    assert path.read_bytes() == b"seen a second later anyway"
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.json"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": float("nan"), "b": float("inf")}, '{"a":null,"b":null}'),
        ({"a": 2**70}, '{"a":"1180591620717411303424"}'),
        ({"a": "x\ud800y", 1: ["\udfff"]}, '{"a":"x?y","1":["?"]}'),
    ],
)
def test_json_is_valid_whatever_a_model_said(value: object, text: str) -> None:
    assert to_json_line(value).decode() == text + "\n"
    assert json.loads(to_json(value)) == json.loads(text)


def test_links_fifos_and_large_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"12345")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    os.mkfifo(tmp_path / "fifo")
    for name in ("link", "fifo", "."):
        with pytest.raises(NotARegularFile):
            open_regular(tmp_path / name)
    with pytest.raises(TooLarge):
        read_bounded(tmp_path / "real", 4)
    assert read_bounded(tmp_path / "real", 5) == b"12345"
