"""The truth about what is there: every published checkpoint that can be found right now.

Work = markers + outbox - outcomes (docs/protocol.md). File system events only say when to scan. Nothing here
follows a link, blocks on a FIFO, or opens anything but markers.

Markers are listed before the outbox: a publisher writes the outbox first, so a checkpoint whose marker is seen is held,
or has been. Every entry is read on its own: one that cannot be read is a problem, and stops no other.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from sidestep.shared.files import NotARegularFile, TooLarge, read_bounded
from sidestep.shared.protocol.checkpoint import checkpoint_steps
from sidestep.shared.protocol.identity import CheckpointKey
from sidestep.shared.protocol.layout import (
    MARKER_NAME,
    MAX_MARKER_BYTES,
    OUTBOX_NAME,
    ModelFolder,
    checkpoint_name,
)
from sidestep.shared.protocol.marker import InvalidMarker, Marker, parse_marker
from sidestep.shared.protocol.outbox import Tombstone, entry_paths, read_entry
from sidestep.shared.protocol.place import Place


@dataclass(frozen=True)
class Candidate:
    """One published checkpoint and where its files may be read, best place first.

    ``skipped`` or ``rejected`` says why it is not to be evaluated; without ``sources`` it cannot be any more.
    """

    key: CheckpointKey
    sources: tuple[Path, ...] = ()
    marker: Marker | None = None
    skipped: str | None = None
    rejected: str | None = None

    @property
    def model_folder(self) -> str:
        return self.key.model_folder

    @property
    def step(self) -> int:
        assert self.key.step is not None  # a base model is not published
        return self.key.step


T = TypeVar("T")
Problems = Callable[[Path, str], None]  # what cannot be read, and why


def ignore_problems(path: Path, reason: str) -> None:
    """For callers that look at what is there and leave problems to the evaluator."""


def scan(place: Place, on_problem: Problems = ignore_problems) -> list[Candidate]:
    """Every published or adopted checkpoint of every model folder, by model folder and step.

    What cannot be read at all (no right to, a folder that is a loop of links, a name that is not text) is told to
    ``on_problem`` and left alone: it may be readable later, or by somebody else.
    """
    found: list[Candidate | None] = []
    for model in _readable_models(place, on_problem):
        steps = _try(partial(checkpoint_steps, model), model.root, on_problem) or []
        found += [_try(partial(_read_marked, model, step), model.checkpoint(step), on_problem) for step in steps]
        entries = _try(partial(entry_paths, model), model.outbox, on_problem) or []
        found += [_try(partial(_read_held, model, path), path, on_problem) for path in entries]
    return merge(candidate for candidate in found if candidate)


def _try(read: Callable[[], T], path: Path, on_problem: Problems) -> T | None:
    """What ``read`` returns; None when it is gone, and where it cannot be read, which is a problem of this one path."""
    try:
        return read()
    except (FileNotFoundError, NotADirectoryError):
        return None  # rotated away in the meantime, or not marked
    except OSError as error:
        on_problem(path, str(error.strerror or error))
    except Exception as error:  # a mistake of ours, met by one odd entry: the others are evaluated nevertheless
        on_problem(path, f"{type(error).__name__}: {error}")
    return None


def _readable_models(place: Place, on_problem: Problems) -> list[ModelFolder]:
    """Folders in which checkpoints may be; a folder whose name is not text could not be named in a report."""
    try:
        models = place.holding_folders()
    except OSError as error:
        on_problem(place.root, str(error.strerror or error))
        return []
    named = []
    for model in models:
        if model.root.name.isprintable():
            named.append(model)
        else:
            on_problem(model.root, "its name is not printable text")
    return named


def is_whole_somewhere(place: Place, key: CheckpointKey) -> bool:
    """Whether all files of a checkpoint can be found right now: to be asked before it is said to have vanished."""
    for candidate in scan(place):
        if candidate.key == key and candidate.marker:
            names = [entry.name for entry in candidate.marker.files]
            return any(all((source / name).is_file() for name in names) for source in candidate.sources)
    return False


def merge(candidates: Iterable[Candidate]) -> list[Candidate]:
    """One candidate for each checkpoint, with every place it may be read from, by model folder and step. Pure."""
    found: dict[CheckpointKey, Candidate] = {}
    for candidate in candidates:
        known = found.get(candidate.key)
        found[candidate.key] = _merge_two(known, candidate) if known else candidate
    return sorted(found.values(), key=lambda candidate: candidate.key)


def _merge_two(known: Candidate, other: Candidate) -> Candidate:
    """Both places of one checkpoint; the held one first, because rotation cannot take it away."""
    sources = sorted((*known.sources, *other.sources), key=lambda source: source.parent.name != OUTBOX_NAME)
    return replace(known, sources=tuple(sources), skipped=None if sources else known.skipped or other.skipped)


def candidate_of(model: ModelFolder, marker: Marker, *sources: Path) -> Candidate:
    """The checkpoint that a marker speaks of, to be read from ``sources``."""
    reason = f"cannot be evaluated because {marker.not_evaluable}" if marker.not_evaluable else None
    return Candidate(marker.key(model.root.name), sources, marker, rejected=reason)


def _read_held(model: ModelFolder, path: Path) -> Candidate | None:
    """The checkpoint that an entry of the outbox holds, or that was dropped from it."""
    entry = read_entry(path)
    if isinstance(entry, Tombstone):
        return Candidate(entry.marker.key(model.root.name), (), entry.marker, skipped=entry.reason)
    return candidate_of(model, entry.marker, entry.path) if entry else None


def _read_marked(model: ModelFolder, step: int) -> Candidate:
    """The checkpoint in a folder that has a marker; rejected when the marker is not this folder's."""
    folder = model.checkpoint(step)
    try:
        with _open_folder(folder) as descriptor:
            content = read_bounded(MARKER_NAME, MAX_MARKER_BYTES, folder_fd=descriptor)
    except (NotARegularFile, TooLarge) as error:
        return _rejected_candidate(model, step, f"{MARKER_NAME} {error.strerror}", b"")
    try:
        marker = parse_marker(content)
    except InvalidMarker as error:
        return _rejected_candidate(model, step, f"{MARKER_NAME} is not a valid marker: {error}", content)
    if marker.step != step:
        return _rejected_candidate(model, step, f"{MARKER_NAME} is of {checkpoint_name(marker.step)}", content)
    return candidate_of(model, marker, folder)


def _rejected_candidate(model: ModelFolder, step: int, reason: str, content: bytes) -> Candidate:
    return Candidate(CheckpointKey(model.root.name, step, hashlib.sha256(content).hexdigest()), rejected=reason)


@contextmanager
def _open_folder(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
