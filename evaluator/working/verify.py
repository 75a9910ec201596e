"""Is the checkpoint in this folder the one that was published? Decided before anything is loaded from it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from sidestep.shared.errors import CheckpointRejected, CheckpointVanished
from sidestep.shared.files import NotARegularFile
from sidestep.shared.protocol.checkpoint import describe_file
from sidestep.shared.protocol.marker import FileEntry


def verify_sources(sources: Sequence[Path], files: Sequence[FileEntry]) -> Iterable[Path]:
    """Yields each folder whose files are exactly those of the file list, checked when its turn comes.

    Raises, once the folders are exhausted: CheckpointRejected when files were there and differed, else
    CheckpointVanished.
    """
    differing: CheckpointRejected | None = None
    for folder in sources:
        try:
            _verify(folder, files)
        except CheckpointRejected as error:
            differing = differing or error
        except (FileNotFoundError, NotADirectoryError):
            continue
        else:
            yield folder
    if differing:
        raise differing
    raise CheckpointVanished("its files are gone from the outbox and from the checkpoint folder")


def _verify(folder: Path, files: Iterable[FileEntry]) -> None:
    for expected in files:
        try:
            found = describe_file(folder, expected.name)
        except NotARegularFile as error:
            raise CheckpointRejected(f"{expected.name} {error.strerror}") from error
        if found.size != expected.size:
            raise CheckpointRejected(f"{expected.name} has {found.size} bytes; the marker says {expected.size}")
        if found.sha256 != expected.sha256:
            raise CheckpointRejected(f"{expected.name} has other content than when it was published")
