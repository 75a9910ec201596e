"""``outcome.json``: how a checkpoint ended, in the small file beside its report. What is done is read from these alone.

The evaluator writes them; a publisher reads them to prune its outbox.
"""

from __future__ import annotations

import glob
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from sidestep.shared.files import read_bounded, to_json
from sidestep.shared.protocol.identity import CheckpointKey, Identity, identity_document
from sidestep.shared.protocol.layout import MAX_MARKER_BYTES, OUTCOME_NAME, ReportsFolder
from sidestep.shared.records import InvalidRecord, parse_record, record_document

SCHEMA_VERSION = 2  # of outcome.json and report.json, which are written together


class Outcome(StrEnum):
    """How a checkpoint ended; each published checkpoint gets exactly one."""

    EVALUATED = "evaluated"
    REJECTED = "rejected"
    VANISHED = "vanished"
    SKIPPED = "skipped"
    ERROR = "error"


@dataclass(frozen=True, kw_only=True)
class OutcomeRecord:
    """What an outcome.json says. ``finished_at`` is ISO 8601 in UTC."""

    schema_version: int = SCHEMA_VERSION
    checkpoint: str
    outcome: Outcome
    reason: str | None = None
    expert_version: str = ""
    finished_at: str = ""
    identity: Identity

    def to_bytes(self) -> bytes:
        return to_json(record_document(self) | {"identity": identity_document(self.identity)})


def parse_outcome(content: bytes) -> OutcomeRecord | None:
    """An outcome from untrusted bytes, or None when it is none."""
    try:
        return parse_record(OutcomeRecord, content)
    except InvalidRecord:
        return None


def read_outcome(folder: Path) -> OutcomeRecord | None:
    """The outcome in a report's folder; None when the file there is not one. Raises OSError when it cannot be read."""
    return parse_outcome(read_bounded(folder / OUTCOME_NAME, MAX_MARKER_BYTES))


def has_outcome(reports: ReportsFolder, checkpoint: CheckpointKey) -> bool:
    """Whether any committed outcome, current or archived, is of exactly this checkpoint."""
    archived = reports.archive.glob(f"*/{glob.escape(checkpoint.model_folder)}/{checkpoint.label}*")
    return any(_key_of_outcome(folder) == checkpoint for folder in (reports.root / checkpoint.label, *archived))


def _key_of_outcome(folder: Path) -> CheckpointKey | None:
    try:
        record = read_outcome(folder)
    except OSError:
        return None
    return record.identity.key if record else None
