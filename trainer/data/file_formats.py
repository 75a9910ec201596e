"""Readers of JSON lines, JSON, CSV and Parquet: row by row, each with its place in the file.

A line that is not a row is yielded as UnusableRow, so that it is counted like any other row that cannot be used; only a
file that cannot be read at all raises DatasetError. CSV cells stay texts: guessing types turns "NA" and "007" into
something else.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pyarrow
import pyarrow.parquet

from sidestep.shared.errors import DatasetError
from sidestep.trainer.data.rows import UnusableRow

Rows = Iterator[tuple[str, Any]]

PARQUET_BATCH_ROWS = 1000
_LIST_KEYS = ("data", "rows", "train", "examples", "instances")


def read_json_lines(path: Path, streaming: bool) -> Rows:
    """One JSON value a line; blank lines count for nothing."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            content = line.removeprefix(b"\xef\xbb\xbf").strip()
            if content:
                yield f"line {number}", _parse_line(content)


def _parse_line(content: bytes) -> Any:
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        pass
    try:  # the slower reader knows NaN and halves of surrogate pairs, and has the better messages
        return json.loads(content)
    except RecursionError:
        return UnusableRow("it is nested too deeply")
    except UnicodeDecodeError:
        return UnusableRow("the line is not in UTF-8")
    except ValueError as error:
        return UnusableRow(f"the line is not JSON: {getattr(error, 'msg', error)}")


def read_json(path: Path, streaming: bool) -> Rows:
    """A JSON list of rows, alone or in an object, or JSON lines in a file with the other suffix."""
    with path.open("rb") as file:
        begin = file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()
    if begin.startswith(b"[") and streaming:
        raise DatasetError(f"{path}: a JSON list has to be read as a whole", hint="write JSON lines, or do not stream")
    if not begin.startswith(b"[") and (streaming or not _is_one_value(path)):
        yield from read_json_lines(path, streaming)
        return
    document = _parse_line(path.read_bytes().removeprefix(b"\xef\xbb\xbf"))
    if isinstance(document, UnusableRow):
        raise DatasetError(f"{path} is not valid JSON: {document}", hint="correct the file there")
    if isinstance(document, dict):
        lists = [key for key, value in document.items() if isinstance(value, list)]
        key = next((name for name in (*_LIST_KEYS, *lists[:1]) if name in lists), None)
        document = document[key] if key in _LIST_KEYS or (key and len(document) == 1) else [document]
    yield from ((f"row {number}", row) for number, row in enumerate(document, 1))


def _is_one_value(path: Path) -> bool:
    """Whether a file that begins with an object is that object, and not one object a line."""
    with path.open("rb") as file:
        first = next((line for line in file if line.strip()), b"")
        rest = next((line for line in file if line.strip()), None)
    return rest is None or isinstance(_parse_line(first.removeprefix(b"\xef\xbb\xbf").strip()), UnusableRow)


def read_csv(path: Path, streaming: bool) -> Rows:
    """Comma-separated values with a header line; every cell is a text."""
    csv.field_size_limit(1 << 30)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            for row in reader:
                place = f"line {reader.line_num}"
                yield place, UnusableRow("it has more cells than the header") if None in row else row
    except (csv.Error, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} cannot be read as csv: {error}", hint="correct the file there") from error


def read_parquet(path: Path, streaming: bool) -> Rows:
    """Rows of a Parquet file, a batch at a time."""
    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=PARQUET_BATCH_ROWS):
                for row in batch.to_pylist():
                    number += 1
                    yield f"row {number}", row
    except pyarrow.ArrowException as error:
        cause = str(error).strip().splitlines()[0]
        raise DatasetError(f"{path} cannot be read as parquet: {cause}", hint="correct the file there") from error


READERS: dict[str, Callable[[Path, bool], Rows]] = {
    "jsonl": read_json_lines, "json": read_json, "csv": read_csv, "parquet": read_parquet,
}  # fmt: skip
_SUFFIXES = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".csv": "csv", ".parquet": "parquet"}


def reader_of(path: Path) -> str | None:
    """The format that a file's suffix tells, if it does."""
    return _SUFFIXES.get(path.suffix.lower())
