"""What makes a checkpoint the same checkpoint, and an outcome the same outcome."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

from sidestep.shared.protocol.layout import BASE_REPORT_NAME, checkpoint_name
from sidestep.shared.records import FLAT, json_name, record_document


@dataclass(frozen=True, order=True)
class CheckpointKey:
    """What names one checkpoint: its model folder, its step, and the hash of its list of files (Marker.files_hash).

    ``step`` is None for the base model without adapter; ``files_hash`` is the base model's fingerprint then.
    """

    model_folder: str
    step: int | None
    files_hash: str = field(metadata=json_name("manifest_hash"))

    @property
    def label(self) -> str:
        """What people call it, and what its report's folder is called."""
        return BASE_REPORT_NAME if self.step is None else checkpoint_name(self.step)


@dataclass(frozen=True)
class Identity:
    """What makes an outcome the same outcome (same identity: already done): a checkpoint, and how it was asked."""

    key: CheckpointKey = field(metadata=FLAT)
    suite_hash: str
    decoding_hash: str

    @property
    def id(self) -> str:
        """Short name for claims and attempt folders (32 hex digits)."""
        key = self.key
        text = "\n".join((key.model_folder, str(key.step), key.files_hash, self.suite_hash, self.decoding_hash))
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    @property
    def label(self) -> str:
        return self.key.label


def identity_document(identity: Identity) -> dict[str, Any]:
    """An identity as documents hold it: with its short name, for people and scripts, which follows from the rest."""
    return {**record_document(identity), "id": identity.id}
