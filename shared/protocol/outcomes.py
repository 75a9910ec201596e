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

    @property
    def settles(self) -> bool:
        """Whether the checkpoint's files may go: it was evaluated, or what is wrong with them was verified.

        After an error they stay: whatever failed may be mended, and a rerun then needs them.
        """
        return self in (Outcome.EVALUATED, Outcome.REJECTED, Outcome.SKIPPED)


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


def is_settled(reports: ReportsFolder, checkpoint: CheckpointKey) -> bool:
    """Whether nobody needs the held files of exactly this checkpoint any more, by an outcome, current or archived."""
    archived = reports.archive.glob(f"*/{glob.escape(checkpoint.model_folder)}/{checkpoint.label}*")
    return any(_settles(folder, checkpoint) for folder in (reports.root / checkpoint.label, *archived))


def _settles(folder: Path, checkpoint: CheckpointKey) -> bool:
    try:
        record = read_outcome(folder)
    except OSError:
        return False
    return record is not None and record.identity.key == checkpoint and record.outcome.settles
