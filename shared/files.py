"""Files that are whole at every instant and still there after a power cut.

Everything that another process reads is written here: temporary name, fsync, rename, fsync of the folder.
Everything that comes from another process is read here: opened without following links, bounded in size.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

CHUNK_BYTES = 1 << 20


class NotARegularFile(OSError):
    """A link, FIFO, device or folder is where a regular file is expected."""


class TooLarge(OSError):
    """The file is larger than what its reader is prepared for."""


def fsync_folder(folder: Path) -> None:
    """Make the folder's entries durable. File systems that cannot sync a folder (some network mounts) say EINVAL."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def write_file(path: Path, content: bytes, *, mode: int = 0o644, durable: bool = True) -> None:
    """Write a new file under its own name; for files inside a folder that is not visible yet."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        if durable:
            os.fsync(file.fileno())


def replace_file(path: Path, content: bytes, *, mode: int = 0o644, durable: bool = True) -> None:
    """Put ``content`` under ``path`` atomically: readers see the old file or the new one.

    Without ``durable`` a power cut may take it back; for what is written every second and means nothing after one.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        write_file(temporary, content, mode=mode, durable=durable)
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    if durable:
        fsync_folder(path.parent)


def to_json(value: Any) -> bytes:
    """JSON for people and programs: indented, keys as given, valid whatever a model said.

    Lone surrogates are replaced, NaN and infinities become null (orjson), integers beyond 64 bits become text.
    """
    return _dump(value, orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def to_json_line(value: Any) -> bytes:
    """The same on one line, for files and pipes that are read line by line."""
    return _dump(value, orjson.OPT_APPEND_NEWLINE)


def _dump(value: Any, options: int) -> bytes:
    options |= orjson.OPT_NON_STR_KEYS
    try:
        return orjson.dumps(value, option=options, default=str)
    except TypeError:
        return orjson.dumps(_encodable(value), option=options, default=str)


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_encodable(key): _encodable(member) for key, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [_encodable(item) for item in value]
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**64:
        return str(value)
    return value


def open_regular(path: Path | str, *, folder_fd: int | None = None) -> int:
    """Open a regular file for reading, without following a link and without hanging on a FIFO."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder_fd)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise NotARegularFile(errno.ELOOP, "is a symbolic link", str(path)) from error
        if error.errno == errno.ENXIO:
            raise NotARegularFile(errno.ENXIO, "is a socket or a device", str(path)) from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotARegularFile(errno.EINVAL, "is not a regular file", str(path))
    return descriptor


def read_bounded(path: Path | str, limit: int, *, folder_fd: int | None = None) -> bytes:
    """The whole content of a regular file of at most ``limit`` bytes."""
    descriptor = open_regular(path, folder_fd=folder_fd)
    with os.fdopen(descriptor, "rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise TooLarge(errno.EFBIG, f"is larger than {limit} bytes", str(path))
    return content


def sha256_of(descriptor: int) -> tuple[int, str]:
    """Size and SHA-256 of an open file, read from its start."""
    digest, size, offset = hashlib.sha256(), 0, 0
    while chunk := os.pread(descriptor, CHUNK_BYTES, offset):
        digest.update(chunk)
        size += len(chunk)
        offset += len(chunk)
    return size, digest.hexdigest()
