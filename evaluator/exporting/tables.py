"""All results as one table for pandas: a row for every case of every checkpoint, as Parquet or CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sidestep.evaluator.results.store import StoredReport
from sidestep.shared.errors import ConfigError, ReportsFolderError
from sidestep.shared.files import replace_file

SCHEMA = pa.schema(
    [
        ("expert", pa.string()),
        ("version", pa.string()),
        ("model", pa.string()),
        ("checkpoint", pa.string()),
        ("step", pa.int64()),
        ("archived", pa.bool_()),
        ("outcome", pa.string()),
        ("finished_at", pa.string()),
        ("train_loss", pa.float64()),
        ("case", pa.string()),
        ("name", pa.string()),
        ("category", pa.string()),
        ("status", pa.string()),
        ("score", pa.float64()),
        ("weight", pa.float64()),
        ("output", pa.string()),
        ("prompt_tokens", pa.int64()),
        ("output_tokens", pa.int64()),
        ("finish_reason", pa.string()),
        ("seconds", pa.float64()),
        ("reference_logprob", pa.float64()),
        ("definition_hash", pa.string()),
        ("suite_hash", pa.string()),
        ("decoding_hash", pa.string()),
        ("outcome_id", pa.string()),
    ]
)


def write_table(path: Path, stored: Sequence[StoredReport]) -> int:
    """Write ``path`` (.parquet or .csv) atomically; returns the number of rows. Raises ConfigError for other names."""
    writers = {".parquet": _parquet, ".csv": _csv}
    if path.suffix.lower() not in writers:
        raise ConfigError(f"{path} is neither .parquet nor .csv", hint="the ending says which one it is to be")
    rows = list(rows_of(stored))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path.absolute(), writers[path.suffix.lower()](rows))
    except OSError as error:
        raise ReportsFolderError(f"{path} cannot be written: {error.strerror}") from error
    return len(rows)


def rows_of(stored: Iterable[StoredReport]) -> Iterator[dict[str, Any]]:
    """One row for each case; a checkpoint that was not evaluated has one row without a case."""
    for entry in stored:
        report = entry.report
        about = {
            "expert": report.expert_name,
            "version": report.expert_version,
            "model": report.identity.key.model_folder,
            "checkpoint": report.checkpoint,
            "step": report.step,
            "archived": entry.archived,
            "outcome": report.outcome.value,
            "finished_at": report.timing.finished_at,
            "train_loss": report.training.loss,
            "suite_hash": report.identity.suite_hash,
            "decoding_hash": report.identity.decoding_hash,
            "outcome_id": report.identity.id,
        }
        if not report.test_cases:
            yield about
        for case in report.test_cases:
            yield about | {
                "case": case.id,
                "name": case.name,
                "category": case.category,
                "status": case.status.value,
                "score": case.score,
                "weight": case.weight,
                "output": case.output,
                "prompt_tokens": case.prompt_tokens,
                "output_tokens": case.output_tokens,
                "finish_reason": case.finish_reason,
                "seconds": case.seconds,
                "reference_logprob": case.reference_logprob,
                "definition_hash": case.definition_hash,
            }


def _parquet(rows: list[dict[str, Any]]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), buffer, compression="zstd")
    return buffer.getvalue()


def _csv(rows: list[dict[str, Any]]) -> bytes:
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, SCHEMA.names, restval="")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue().encode("utf-8", "replace")
