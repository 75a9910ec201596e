"""Data that is already tokens: folders that others prepared, and our own cache of what we tokenized.

A cache is only ever used for what it was made from. Everything the tokens depend on goes into one fingerprint, each
fingerprint has a folder of its own, and a folder appears whole or not at all. Nothing that is there is ever deleted.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import orjson
from filelock import FileLock
from transformers import PreTrainedTokenizerBase

from sidestep.shared.errors import DatasetError
from sidestep.shared.logs import get_logger
from sidestep.trainer.data.preparation import Columns, to_dataset
from sidestep.trainer.data.report import RowReport
from sidestep.trainer.data.rows import UnusableRow
from sidestep.trainer.data.tokens import IGNORED, TOKEN_FEATURES, cut

log = get_logger("trainer.data")

CONVERSION = 1
"""Raise this when the same rows become other tokens than before."""

MADE_FROM = "made_from.json"
Parts = dict[str, datasets.Dataset]


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """Changes with anything that changes a text's tokens: vocabulary, rules, added and special tokens."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    rules = backend.to_str() if backend is not None else json.dumps(sorted(tokenizer.get_vocab().items()))
    return _digest(rules + json.dumps(tokenizer.special_tokens_map, sort_keys=True, default=str))


def load_or_build(folder: Path, made_from: dict[str, Any], make: Callable[[], Parts]) -> Parts:
    """The parts made from exactly this: from the cache, else built now and put there. Raises DatasetError."""
    made_from = orjson.loads(orjson.dumps({"conversion": CONVERSION, **made_from}))
    place = folder / _digest(json.dumps(made_from, sort_keys=True))[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):  # the processes of one training come here together
            if not (place / MADE_FROM).is_file():
                _log_why_not_used(folder, made_from)
                _write(place, made_from, make())
            else:
                log.info("tokens come from the cache %s", place)
            return {part.name: datasets.load_from_disk(str(part)) for part in place.iterdir() if part.is_dir()}
    except OSError as error:
        raise DatasetError(
            f"the cache {folder} cannot be used: {error}", hint="correct pretokenized_cache, or remove it"
        ) from error


def _write(place: Path, made_from: dict[str, Any], parts: Parts) -> None:
    unfinished = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=place.parent))
    try:
        for name, data in parts.items():
            data.save_to_disk(str(unfinished / name))
        (unfinished / MADE_FROM).write_bytes(orjson.dumps(made_from, option=orjson.OPT_INDENT_2))
        unfinished.rename(place)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    log.info("tokens are kept in %s", place)


def _log_why_not_used(folder: Path, made_from: dict[str, Any]) -> None:
    """Which settings differ from those of the caches that are there."""
    for path in sorted(folder.glob(f"*/{MADE_FROM}")):
        try:
            other = orjson.loads(path.read_bytes())
        except (OSError, orjson.JSONDecodeError):
            continue
        keys = sorted(key for key in made_from.keys() | other.keys() if made_from.get(key) != other.get(key))
        log.info("the cache %s is not used: it was made with another %s", path.parent.name, ", ".join(keys))


def read_pretokenized(data: datasets.Dataset, name: str, longest: int, vocabulary: int) -> datasets.Dataset:
    """Tokens and labels of a data set that others tokenized. Raises DatasetError when it was made for another model.

    Labels come from a labels column, else from completion_mask or assistant_masks, else every token is learnt.
    """
    if "input_ids" not in data.column_names:
        raise DatasetError(
            f"{name} is not tokenized: it has {', '.join(data.column_names)}, but no input_ids",
            hint="remove use_pretokenized",
        )
    known = [column for column in ("labels", "completion_mask", "assistant_masks") if column in data.column_names]
    if not known:
        log.warning("%s has neither labels nor a mask: every token is learnt, questions included", name)
    report = RowReport(name)
    usable = _usable_rows(data.select_columns(["input_ids", *known]), report, longest, vocabulary)
    rows = to_dataset(usable, TOKEN_FEATURES)
    report.write()
    report.check({})
    return rows


def _usable_rows(data: datasets.Dataset, report: RowReport, longest: int, vocabulary: int) -> Iterator[Columns]:
    for number, row in enumerate(data, 1):
        try:
            ids, labels = _read_ids_and_labels(row)
            if ids and not 0 <= min(ids) <= max(ids) < vocabulary:
                raise DatasetError(
                    f"{report.name}: row {number} has token {max(ids)}, the model's tokenizer only {vocabulary}",
                    hint="it was made with another tokenizer; make it again",
                )
            columns = cut(ids, labels, longest)
        except UnusableRow as error:
            report.leave_out(f"row {number}", str(error))
        else:
            report.taken += 1
            report.shortened += len(ids) > longest
            yield columns


def _read_ids_and_labels(row: dict[str, Any]) -> tuple[list[int], list[int]]:
    ids = row["input_ids"]
    if not isinstance(ids, list) or not ids or not all(isinstance(token, int) for token in ids):
        raise UnusableRow("it has no tokens")
    if (labels := row.get("labels")) is None:
        masks = [mask for name in ("completion_mask", "assistant_masks") if (mask := row.get(name)) is not None]
        labels = [token if all(bits) else IGNORED for token, *bits in zip(ids, *masks, strict=True)]
    if len(labels) != len(ids):
        raise UnusableRow("there are not as many labels as tokens")
    return ids, labels


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
