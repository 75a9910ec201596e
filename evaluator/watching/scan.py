"""The truth about what is there: every published checkpoint that can be found right now.

Work = markers + outbox - outcomes (docs/protocol.md). File system events only say when to scan. Nothing here
follows a link, blocks on a FIFO, or opens anything but markers.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from sidestep.shared.files import NotARegularFile, TooLarge, read_bounded
from sidestep.shared.protocol.identity import CheckpointKey
from sidestep.shared.protocol.layout import MARKER_NAME, MAX_MARKER_BYTES, ModelFolder, checkpoint_name, checkpoint_step
from sidestep.shared.protocol.marker import InvalidMarker, Marker, parse_marker
from sidestep.shared.protocol.outbox import held_entries, tombstones
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


def scan(place: Place) -> list[Candidate]:
    """Every published or adopted checkpoint of every model folder, by model folder and step."""
    return merge(
        candidate
        for model in place.holding_folders()
        for candidate in (*_held_candidates(model), *_marked_candidates(model), *_dropped_candidates(model))
    )


def merge(candidates: Iterable[Candidate]) -> list[Candidate]:
    """One candidate for each checkpoint, with every place it may be read from, by model folder and step. Pure."""
    found: dict[CheckpointKey, Candidate] = {}
    for candidate in candidates:
        known = found.get(candidate.key)
        found[candidate.key] = _merge_two(known, candidate) if known else candidate
    return sorted(found.values(), key=lambda candidate: candidate.key)


def _merge_two(known: Candidate, other: Candidate) -> Candidate:
    sources = (*known.sources, *other.sources)
    return replace(known, sources=sources, skipped=None if sources else known.skipped)


def candidate_of(model: ModelFolder, marker: Marker, *sources: Path) -> Candidate:
    """The checkpoint that a marker speaks of, to be read from ``sources``."""
    reason = f"cannot be evaluated because {marker.not_evaluable}" if marker.not_evaluable else None
    return Candidate(marker.key(model.root.name), sources, marker, rejected=reason)


def checkpoint_steps(model: ModelFolder) -> list[int]:
    """Steps of all checkpoint folders, ascending; links and foreign names do not count."""
    try:
        entries = list(os.scandir(model.root))
    except (FileNotFoundError, NotADirectoryError):
        return []
    steps = (checkpoint_step(entry.name) for entry in entries if entry.is_dir(follow_symlinks=False))
    return sorted(step for step in steps if step is not None)


def _held_candidates(model: ModelFolder) -> Iterable[Candidate]:
    for held in held_entries(model):
        yield candidate_of(model, held.marker, held.path)


def _dropped_candidates(model: ModelFolder) -> Iterable[Candidate]:
    for stone in tombstones(model):
        yield Candidate(stone.marker.key(model.root.name), (), stone.marker, skipped=stone.reason)


def _marked_candidates(model: ModelFolder) -> Iterable[Candidate]:
    for step in checkpoint_steps(model):
        with suppress(FileNotFoundError, NotADirectoryError):  # rotated away in the meantime
            yield _read_marked(model, step)


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
