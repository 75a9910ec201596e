"""Only what was published is offered for loading."""

from __future__ import annotations

from pathlib import Path

import pytest

from sidestep.evaluator.working.verify import verify_sources
from sidestep.shared import errors
from sidestep.shared.protocol.checkpoint import describe_files
from sidestep.shared.protocol.layout import ModelFolder
from sidestep.shared.protocol.marker import FileEntry
from tests.fakes.checkpoints import write_checkpoint


def test_sources_are_verified_in_turn(tmp_path: Path) -> None:
    good = write_checkpoint(ModelFolder(tmp_path / "a"), 1)
    changed = write_checkpoint(ModelFolder(tmp_path / "b"), 1, salt=1)
    files = describe_files(good)
    assert list(offered_sources([tmp_path / "none", good], files)) == [good]
    with pytest.raises(errors.CheckpointRejected, match="other content"):
        list(verify_sources([tmp_path / "none", changed], files))
    with pytest.raises(errors.CheckpointVanished):
        list(verify_sources([tmp_path / "none"], files))


def offered_sources(sources: list[Path], files: tuple[FileEntry, ...]) -> list[Path]:
    """Sources that were offered; being exhausted afterwards is not the point here."""
    offered = []
    try:
        for source in verify_sources(sources, files):
            offered.append(source)
    except errors.CheckpointVanished:
        pass
    return offered
