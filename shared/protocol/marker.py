"""The marker: the file by which the trainer says that a checkpoint is complete, and what it consists of.

The same document lies in the checkpoint folder as ``READY.json`` and in the outbox entry that holds the
checkpoint's files (shared.protocol.outbox). Names, sizes and hashes of these files are the file list.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field, fields

from sidestep.shared.files import to_json
from sidestep.shared.protocol.identity import CheckpointKey
from sidestep.shared.records import FLAT, InvalidRecord, parse_record, record_document

SCHEMA_VERSION = 1
MAX_FILES = 4096
MAX_TEXT = 1024  # characters of any text in a marker
UNMARKED_RUN = "unmarked"  # the run of a checkpoint that no publisher described

_SHA256 = re.compile(r"[0-9a-f]{64}")
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")


class InvalidMarker(ValueError):
    """The bytes are not a marker of this schema."""


@dataclass(frozen=True)
class FileEntry:
    """One file of the checkpoint that an evaluator needs; names have no folder part, sizes are in bytes."""

    name: str
    size: int
    sha256: str

    def __post_init__(self) -> None:
        if not _FILE_NAME.fullmatch(self.name):
            raise ValueError(f"name: {self.name[:80]!r} is not a plain file name")
        if self.size < 0:
            raise ValueError("size: is negative")
        if not _SHA256.fullmatch(self.sha256):
            raise ValueError("sha256: is not 64 hexadecimal digits")


@dataclass(frozen=True)
class RunDescription:
    """What a marker says about the training as a whole: the expert, the base model, what is trained and how."""

    expert_name: str = "unknown"
    expert_version: str = "unknown"
    base_model: str = ""
    base_revision: str | None = None
    adapter_type: str = "unknown"
    dtype: str = "unknown"
    prompt_template: str | None = None

    def __post_init__(self) -> None:
        _check_lengths(self)


@dataclass(frozen=True)
class TrainingMetrics:
    """What is known about a training at a save: the last loss and rate, and seconds per step since the save before."""

    train_loss: float | None = None
    learning_rate: float | None = None
    seconds_per_step: float | None = None


@dataclass(frozen=True, kw_only=True)
class Marker:
    """All that the evaluator learns from the trainer about one checkpoint."""

    schema_version: int = SCHEMA_VERSION
    run_id: str
    step: int
    run: RunDescription = field(default_factory=RunDescription, metadata=FLAT)
    not_evaluable: str | None = None  # why no evaluator can load it (shards); its files are then the small ones
    files: tuple[FileEntry, ...]
    metrics: TrainingMetrics = field(default_factory=TrainingMetrics, metadata=FLAT)
    published_at: float | None = None  # wall clock, seconds since the epoch; shown to people, never decided upon

    def __post_init__(self) -> None:
        if self.schema_version != SCHEMA_VERSION:
            raise ValueError(
                f"schema_version: schema version {self.schema_version} is not {SCHEMA_VERSION}: written by another "
                "version of Sidestep"
            )
        if not 0 <= self.step < 10**12:
            raise ValueError(f"step: {self.step} is not a number of steps")
        if not 0 < len(self.files) <= MAX_FILES:
            raise ValueError(f"files: has {len(self.files)} entries, not 1 to {MAX_FILES}")
        if len({entry.name for entry in self.files}) != len(self.files):
            raise ValueError("files: a file is listed twice")
        _check_lengths(self)

    @property
    def files_hash(self) -> str:
        """SHA-256 over the file list: same files, same hash, whatever the order and the rest of the marker."""
        lines = sorted(f"{entry.name}\0{entry.size}\0{entry.sha256}" for entry in self.files)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    @property
    def is_unmarked(self) -> bool:
        """Whether no publisher wrote this: an evaluator that took the checkpoint as it lay there did."""
        return self.run_id == UNMARKED_RUN

    def key(self, model_folder: str) -> CheckpointKey:
        """What names the checkpoint in a model folder of this name."""
        return CheckpointKey(model_folder, self.step, self.files_hash)

    def to_bytes(self) -> bytes:
        return to_json(record_document(self))


def _check_lengths(record: RunDescription | Marker) -> None:
    """Raise ValueError for a text that is longer than anybody's marker has."""
    for member in fields(record):
        value = getattr(record, member.name)
        if isinstance(value, str) and len(value) > MAX_TEXT:
            raise ValueError(f"{member.name}: is longer than {MAX_TEXT} characters")


def parse_marker(content: bytes) -> Marker:
    """A marker from untrusted bytes. Raises InvalidMarker with one line that says what is wrong."""
    try:
        return parse_record(Marker, content)
    except InvalidRecord as error:
        raise InvalidMarker(str(error)) from error
