"""The marker: the file by which the trainer says that a checkpoint is complete, and what it consists of.

The same document lies in the checkpoint folder as ``READY.json`` and in the outbox entry that holds the
checkpoint's files (shared.protocol.outbox). Its list of files, with sizes and hashes, is the file manifest.
"""

from __future__ import annotations

import hashlib
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator

from sidestep.shared.files import to_json

SCHEMA_VERSION = 1

_Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
_Short = Annotated[str, StringConstraints(max_length=1024)]
_FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,254}$")]


class FileEntry(BaseModel):
    """One file of the checkpoint that an evaluator needs; names have no folder part."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: _FileName
    size: int = Field(ge=0)
    sha256: _Sha256


class Marker(BaseModel):
    """All that the evaluator learns from the trainer about one checkpoint."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=True)

    schema_version: int = SCHEMA_VERSION
    run_id: _Short
    step: int = Field(ge=0, lt=10**12)
    expert_name: _Short = "unknown"
    expert_version: _Short = "unknown"
    base_model: _Short = ""
    base_revision: _Short | None = None
    adapter_type: _Short = "unknown"
    dtype: _Short = "unknown"
    prompt_template: _Short | None = None
    not_evaluable: _Short | None = None  # why no evaluator can load it (shards); its files are then the small ones
    files: tuple[FileEntry, ...] = Field(min_length=1, max_length=4096)
    train_loss: float | None = None
    learning_rate: float | None = None
    seconds_per_step: float | None = None
    published_at: float | None = None  # wall clock, seconds since the epoch; shown to people, never decided upon

    @field_validator("schema_version")
    @classmethod
    def _known_schema(cls, value: int) -> int:
        if value != SCHEMA_VERSION:
            raise ValueError(f"schema version {value} is not {SCHEMA_VERSION}: written by another version of Sidestep")
        return value

    @field_validator("files")
    @classmethod
    def _distinct_names(cls, value: tuple[FileEntry, ...]) -> tuple[FileEntry, ...]:
        if len({entry.name for entry in value}) != len(value):
            raise ValueError("a file is listed twice")
        return value

    @property
    def manifest_hash(self) -> str:
        """SHA-256 over the file manifest: same files, same hash, whatever the order and the rest of the marker."""
        lines = sorted(f"{entry.name}\0{entry.size}\0{entry.sha256}" for entry in self.files)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def to_bytes(self) -> bytes:
        return to_json(self.model_dump(mode="json"))


class InvalidMarker(ValueError):
    """The bytes are no marker of this schema."""


def parse_marker(content: bytes) -> Marker:
    """A marker from untrusted bytes. Raises InvalidMarker with one line that says what is wrong."""
    try:
        return Marker.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "document"
        raise InvalidMarker(f"{where}: {first['msg']}") from error
