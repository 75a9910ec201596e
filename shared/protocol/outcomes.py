"""Which checkpoints already have an outcome, as the publisher needs to know it: from the small outcome files alone.

The evaluator writes ``outcome.json`` beside each report; what else it holds is the evaluator's affair.
"""

from __future__ import annotations

import glob
from dataclasses import dataclass
from pathlib import Path

import orjson

from sidestep.shared.files import read_bounded
from sidestep.shared.protocol.layout import MAX_MARKER_BYTES, OUTCOME_NAME, ReportsFolder, checkpoint_name


@dataclass(frozen=True)
class PublishedCheckpoint:
    """What names one published checkpoint: its place and the hash of its file manifest."""

    model_folder: str
    step: int
    manifest_hash: str


def has_outcome(reports: ReportsFolder, checkpoint: PublishedCheckpoint) -> bool:
    """Whether any committed outcome, current or archived, is of exactly these files."""
    name = checkpoint_name(checkpoint.step)
    archived = reports.archive.glob(f"*/{glob.escape(checkpoint.model_folder)}/{name}*/{OUTCOME_NAME}")
    current = reports.checkpoint(checkpoint.step) / OUTCOME_NAME
    return any(_published(path) == checkpoint for path in (current, *archived))


def _published(outcome: Path) -> PublishedCheckpoint | None:
    try:
        identity = orjson.loads(read_bounded(outcome, MAX_MARKER_BYTES))["identity"]
        return PublishedCheckpoint(identity["model_folder"], identity["step"], identity["manifest_hash"])
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError):
        return None
