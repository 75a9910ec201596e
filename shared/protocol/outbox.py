"""The outbox: published checkpoints held where rotation cannot take them away before they are evaluated.

    <model-dir>/.outbox/
      tmp-<uuid>/               being staged or being removed; never work
      <step>-<hash12>/          weights as hard links, small files as copies, READY.json (the marker)
      <step>-<hash12>.skipped   a tombstone: dropped over the limit before anybody evaluated it

Weights are linked because they are large and nobody rewrites them in place; the small files are copied because
their writers truncate in place. Where linking fails (another device, or not permitted), weights are copied too.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sidestep.shared.errors import PublishError
from sidestep.shared.files import (
    CHUNK_BYTES,
    NotARegularFile,
    fsync_folder,
    open_regular,
    read_bounded,
    replace_file,
    sha256_of,
    write_file,
)
from sidestep.shared.protocol.checkpoint import describe_file, files_that_matter, is_weights
from sidestep.shared.protocol.layout import MARKER_NAME, MAX_MARKER_BYTES, ModelFolder
from sidestep.shared.protocol.marker import FileEntry, InvalidMarker, Marker, parse_marker

TOMBSTONE_SUFFIX = ".skipped"
DROPPED = "dropped from the outbox over its limit before it was evaluated"
MAX_SMALL_FILE_BYTES = 512 << 20

_ENTRY = re.compile(r"(0|[1-9]\d{0,11})-([0-9a-f]{12})")
_CANNOT_LINK = {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EACCES, errno.ENOSYS}


@dataclass(frozen=True)
class OutboxLimits:
    """How much may wait for the evaluator: number of checkpoints, and bytes that only the outbox keeps alive."""

    entries: int = 200
    bytes: int = 100 << 30


@dataclass(frozen=True)
class Held:
    """One entry of the outbox."""

    path: Path
    marker: Marker


@dataclass(frozen=True)
class Tombstone:
    """One entry that was dropped before it was evaluated; its outcome is ``skipped``."""

    path: Path
    marker: Marker
    reason: str


def entry_name(marker: Marker) -> str:
    return f"{marker.step}-{marker.files_hash[:12]}"


def stage(
    model: ModelFolder,
    checkpoint: Path,
    describe: Callable[[tuple[FileEntry, ...]], Marker],
    *,
    touch: bool = True,
) -> Held:
    """Make the checkpoint's files durable, hold them, and return the visible entry.

    ``describe`` turns the file list into the marker. Without ``touch`` the checkpoint's files are only read and
    linked, as an evaluator must that adopts them. Raises PublishError when there is nothing to hold, OSError when a
    file is not a regular file or cannot be read or written; nothing under a final name is left behind then.
    """
    names = files_that_matter(checkpoint)
    if not names:
        raise PublishError(f"{checkpoint} has none of a checkpoint's files")
    model.outbox.mkdir(mode=0o755, exist_ok=True)
    staging = model.outbox / f"tmp-{uuid.uuid4().hex}"
    staging.mkdir(mode=0o755)
    try:
        marker = describe(tuple(_hold(checkpoint, name, staging, touch) for name in names))
        if touch:
            fsync_folder(checkpoint)
        write_file(staging / MARKER_NAME, marker.to_bytes())
        fsync_folder(staging)
        final = model.outbox / entry_name(marker)
        _rename_entry(staging, final)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    fsync_folder(model.outbox)
    return Held(final, marker)


def _rename_entry(staging: Path, final: Path) -> None:
    try:
        staging.rename(final)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        # The same files were published before (a sweep after a crash): the entry that is there is as good.


def _hold(checkpoint: Path, name: str, staging: Path, touch: bool) -> FileEntry:
    """Sync, hash and hold one file. The hash is of what is held."""
    descriptor = open_regular(checkpoint / name)
    try:
        if not is_weights(name):
            content = read_bounded(checkpoint / name, MAX_SMALL_FILE_BYTES)
            if touch:
                os.fsync(descriptor)
            write_file(staging / name, content)
            return describe_file(staging, name)
        if touch:  # safetensors writes 0600; the evaluator may run as another user
            os.fchmod(descriptor, os.fstat(descriptor).st_mode & 0o777 | 0o444)
            os.fsync(descriptor)
        _link_or_copy(checkpoint / name, descriptor, staging / name)
        size, digest = sha256_of(descriptor)
        return FileEntry(name=name, size=size, sha256=digest)
    finally:
        os.close(descriptor)


def _link_or_copy(source: Path, descriptor: int, target: Path) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _CANNOT_LINK:
            raise
        with target.open("xb") as copy:
            offset = 0
            while chunk := os.pread(descriptor, CHUNK_BYTES, offset):
                copy.write(chunk)
                offset += len(chunk)
            copy.flush()
            os.fsync(copy.fileno())


def entry_paths(model: ModelFolder) -> list[Path]:
    """Where the entries and tombstones of an outbox are, by name. Raises OSError when it cannot be listed."""
    if model.outbox.is_symlink():  # what it leads to is another training's, and would be deleted when it is done
        raise NotARegularFile(errno.ELOOP, "is a symbolic link", str(model.outbox))
    return [path for path in _listing(model.outbox) if _ENTRY.fullmatch(path.name.removesuffix(TOMBSTONE_SUFFIX))]


def read_entry(path: Path) -> Held | Tombstone | None:
    """What is at one of these paths; None when it is gone, unreadable, or not what its name says."""
    if path.name.endswith(TOMBSTONE_SUFFIX):
        marker = _read_marker(path)
        return Tombstone(path, marker, DROPPED) if marker else None
    marker = _read_marker(path / MARKER_NAME)
    return Held(path, marker) if marker and path.name == entry_name(marker) else None


def held_entries(model: ModelFolder) -> list[Held]:
    """Every readable entry, oldest step first."""
    entries = map(read_entry, entry_paths(model))
    return sorted((entry for entry in entries if isinstance(entry, Held)), key=lambda held: held.marker.step)


def tombstones(model: ModelFolder) -> list[Tombstone]:
    """Every entry that was dropped over the limit, oldest step first."""
    entries = map(read_entry, entry_paths(model))
    return sorted((entry for entry in entries if isinstance(entry, Tombstone)), key=lambda stone: stone.marker.step)


def enforce_limits(model: ModelFolder, limits: OutboxLimits, is_done: Callable[[Marker], bool]) -> list[Held]:
    """Prune entries with an outcome; over the limits, turn the oldest into tombstones. Returns those dropped."""
    waiting = []
    for held in held_entries(model):
        if is_done(held.marker):
            remove(held.path)
        else:
            waiting.append(held)
    for stone in tombstones(model):
        if is_done(stone.marker):
            stone.path.unlink(missing_ok=True)
    dropped = over_limit([(held, size_of(held.path)) for held in waiting], limits)
    for held in dropped:
        replace_file(held.path.with_name(held.path.name + TOMBSTONE_SUFFIX), held.marker.to_bytes())
        remove(held.path)
    return dropped


def over_limit(sizes: list[tuple[Held, int]], limits: OutboxLimits) -> list[Held]:
    """The oldest entries to drop so that the rest fits; the newest is never dropped. Pure."""
    kept_bytes, kept, dropped = 0, 0, []
    for held, size in reversed(sizes):
        if kept and (kept + 1 > limits.entries or kept_bytes + size > limits.bytes):
            dropped.append(held)
        else:
            kept, kept_bytes = kept + 1, kept_bytes + size
    return dropped[::-1]


def size_of(entry: Path) -> int:
    """Bytes on disk that this entry alone keeps alive: files whose only link it is. 0 when it is gone."""
    total = 0
    for path in _listing(entry):
        try:
            status = path.lstat()
        except OSError:
            continue
        total += status.st_size if status.st_nlink == 1 else 0
    return total


def remove(entry: Path) -> None:
    """Take an entry out of sight in one step, then delete it. Without effect where it is already gone."""
    doomed = entry.with_name(f"tmp-{uuid.uuid4().hex}")
    try:
        entry.rename(doomed)
    except FileNotFoundError:
        return
    shutil.rmtree(doomed, ignore_errors=True)


def remove_tombstone(model: ModelFolder, marker: Marker) -> None:
    """Delete the tombstone of a checkpoint whose outcome is committed."""
    (model.outbox / f"{entry_name(marker)}{TOMBSTONE_SUFFIX}").unlink(missing_ok=True)


def sweep_leftovers(model: ModelFolder) -> None:
    """Delete what a killed publisher left half staged. Only the publisher calls this, before it stages anything."""
    for path in _listing(model.outbox):
        if path.name.startswith("tmp-"):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def _listing(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _read_marker(path: Path) -> Marker | None:
    try:
        return parse_marker(read_bounded(path, MAX_MARKER_BYTES))
    except (OSError, InvalidMarker):
        return None
