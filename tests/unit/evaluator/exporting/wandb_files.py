"""Reads a W&B run file (``run-*.wandb``): records in LevelDB's log format, decoded with W&B's own protocol buffers."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BLOCK = 32768
HEADER = 7
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def history_rows(path: Path) -> list[dict[str, Any]]:
    """What was logged, one dictionary for each call."""
    from wandb.proto import wandb_internal_pb2

    rows = []
    for content in _records(path.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(content)
        if record.WhichOneof("record_type") == "history":
            items = record.history.item
            rows.append({item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items})
    return rows


def _records(data: bytes) -> Iterator[bytes]:
    assert data[:4] == b":W&B"
    at, parts = HEADER, b""
    while at + HEADER <= len(data):
        left = BLOCK - at % BLOCK
        if left < HEADER:
            at += left
            continue
        _, size, kind = struct.unpack("<IHB", data[at : at + HEADER])
        chunk = data[at + HEADER : at + HEADER + size]
        at += HEADER + size
        if kind in (FULL, FIRST):
            parts = b""
        parts += chunk
        if kind in (FULL, LAST):
            yield parts
