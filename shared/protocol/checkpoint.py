"""Which files of a checkpoint matter, and when a checkpoint is complete. These rules live here and nowhere else.

The publisher uses them for what it hands over, the evaluator for checkpoints that nobody marked. Weights are
recognised by their safetensors header, without reading the weights and without torch; pickles are never opened.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from sidestep.shared.files import open_regular, read_bounded, sha256_of
from sidestep.shared.protocol.layout import INCOMPLETE_SENTINEL, ModelFolder, checkpoint_step
from sidestep.shared.protocol.marker import FileEntry, TrainingMetrics

MAX_HEADER_BYTES = 100_000_000  # the safetensors format's own limit
MAX_JSON_BYTES = 256 << 20

_WEIGHTS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\.safetensors")
_SHARD = re.compile(r"(.+)-\d{5}-of-(\d{5})\.safetensors")
_SMALL_FILES = frozenset(
    {
        "adapter_config.json",
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "tokenizer.model",
        "special_tokens_map.json",
        "added_tokens.json",
        "vocab.json",
        "merges.txt",
        "chat_template.jinja",
        "chat_template.json",
        "model.safetensors.index.json",
        "trainer_state.json",
    }
)


# What is in a checkpoint in place of whole weights in safetensors, and what to change so that they are there.
_NO_WHOLE_WEIGHTS = (
    (
        re.compile(r"pytorch_model_fsdp.*|.*\.distcp"),
        "its weights are FSDP shards ({name}): set fsdp_state_dict_type to FULL_STATE_DICT, or merge them with "
        "`accelerate merge-weights`",
    ),
    (
        re.compile(r"global_step\d+"),
        "its weights are DeepSpeed shards ({name}): set stage3_gather_16bit_weights_on_model_save, or merge them with "
        "zero_to_fp32.py",
    ),
    (
        re.compile(r"(pytorch_model|adapter_model|model).*\.(bin|pt|pth)"),
        "its weights are pickles ({name}), which are never loaded: save them as safetensors",
    ),
)


class IncompleteCheckpoint(ValueError):
    """The folder is not a complete checkpoint; the text says what is missing."""


class InvalidSafetensors(ValueError):
    """The file's header and length do not belong together."""


def is_weights(name: str) -> bool:
    return _WEIGHTS.fullmatch(name) is not None


def checkpoint_steps(model: ModelFolder, *, follow_links: bool = False) -> list[int]:
    """Steps of all checkpoint folders, ascending; foreign names do not count, nor links unless they are followed."""
    try:
        entries = list(os.scandir(model.root))
    except (FileNotFoundError, NotADirectoryError):
        return []
    steps = (checkpoint_step(entry.name) for entry in entries if entry.is_dir(follow_symlinks=follow_links))
    return sorted(step for step in steps if step is not None)


def files_that_matter(folder: Path) -> list[str]:
    """Names of the files an evaluator may need: weights in safetensors and small configuration files, sorted."""
    names = (path.name for path in folder.iterdir())
    return sorted(name for name in names if is_weights(name) or name in _SMALL_FILES)


def describe_file(folder: Path, name: str) -> FileEntry:
    """Size and hash of one regular file as it is now. Raises OSError, also for links and FIFOs."""
    descriptor = open_regular(folder / name)
    try:
        size, digest = sha256_of(descriptor)
    finally:
        os.close(descriptor)
    return FileEntry(name=name, size=size, sha256=digest)


def describe_files(folder: Path) -> tuple[FileEntry, ...]:
    """The file list of a checkpoint folder as it is now."""
    return tuple(describe_file(folder, name) for name in files_that_matter(folder))


@dataclass(frozen=True)
class TrainerState:
    """What transformers' trainer_state.json says about the step a checkpoint was saved at."""

    step: int
    metrics: TrainingMetrics


def read_trainer_state(folder: Path) -> TrainerState:
    """Step, last training loss and rate. Raises IncompleteCheckpoint when the file is missing or not JSON."""
    document = _read_json(folder, "trainer_state.json")
    step = document.get("global_step") if isinstance(document, dict) else None
    if not isinstance(step, int):
        raise IncompleteCheckpoint("trainer_state.json has no global_step")
    history = document.get("log_history")
    rows = [row for row in history if isinstance(row, dict)] if isinstance(history, list) else []
    return TrainerState(step, TrainingMetrics(_last_number(rows, "loss"), _last_number(rows, "learning_rate")))


def check_complete(folder: Path) -> None:
    """Raise IncompleteCheckpoint unless the folder holds a whole checkpoint saved by a transformers Trainer.

    Complete means: no sentinel of a save that was cut short; trainer_state.json parses and names the folder's own
    step (it is written last); a configuration; every safetensors file as long as its header says; every shard there.
    """
    names = _names_of_finished(folder)
    weights = sorted(name for name in names if is_weights(name))
    if not weights:
        raise IncompleteCheckpoint("no weights in safetensors format")
    if not names & {"adapter_config.json", "config.json"}:
        raise IncompleteCheckpoint("neither adapter_config.json nor config.json")
    for name in sorted(names & {"adapter_config.json", "config.json"}):
        _read_json(folder, name)
    for name in weights:
        try:
            check_safetensors(folder / name)
        except (OSError, InvalidSafetensors) as error:
            raise IncompleteCheckpoint(f"{name}: {error}") from error
    _check_shards(folder, names)


def why_not_evaluable(folder: Path) -> str | None:
    """Why no evaluator can load a checkpoint whose save was finished; None when nothing speaks against it.

    Decided by the names alone: a checkpoint of a distributed training may hold shards instead of whole weights.
    """
    names = sorted(path.name for path in folder.iterdir())
    if any(map(is_weights, names)):
        return None
    for pattern, reason in _NO_WHOLE_WEIGHTS:
        for name in names:
            if pattern.fullmatch(name):
                return reason.format(name=name)
    return "it has no weights in safetensors format"


def check_finished(folder: Path) -> str | None:
    """Raise IncompleteCheckpoint unless the save was finished; returns why no evaluator can load it, or None."""
    if reason := why_not_evaluable(folder):
        _names_of_finished(folder)
        return reason
    check_complete(folder)
    return None


def _names_of_finished(folder: Path) -> set[str]:
    """Names of all files, where trainer_state.json, which a Trainer writes last, says that the save was finished."""
    names = {path.name for path in folder.iterdir()}
    if INCOMPLETE_SENTINEL in names:
        raise IncompleteCheckpoint(f"{INCOMPLETE_SENTINEL} is present: its save was cut short")
    state, step = read_trainer_state(folder), checkpoint_step(folder.name)
    if step is not None and state.step != step:
        raise IncompleteCheckpoint(f"trainer_state.json is of step {state.step}")
    return names


def check_safetensors(path: Path) -> None:
    """Raise InvalidSafetensors unless the header parses and the tensors fill the rest of the file exactly."""
    descriptor = open_regular(path)
    try:
        size = os.fstat(descriptor).st_size
        length = int.from_bytes(os.pread(descriptor, 8, 0), "little")
        if size < 8 or length > min(MAX_HEADER_BYTES, size - 8):
            raise InvalidSafetensors("is truncated, or its header is too large")
        header = _parse_header(os.pread(descriptor, length, 8))
    finally:
        os.close(descriptor)
    position = 0
    for start, end in sorted(header):
        if start != position or end < start:
            raise InvalidSafetensors("has overlapping or missing tensors")
        position = end
    if 8 + length + position != size:
        raise InvalidSafetensors(f"has {size} bytes where its header says {8 + length + position}")


def _parse_header(content: bytes) -> list[tuple[int, int]]:
    try:
        header = orjson.loads(content)
        tensors = [value for key, value in header.items() if key != "__metadata__"]
        return [(int(tensor["data_offsets"][0]), int(tensor["data_offsets"][1])) for tensor in tensors]
    except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
        raise InvalidSafetensors("has a header that is not a safetensors header") from error


def _check_shards(folder: Path, names: set[str]) -> None:
    """Every shard that the index names, and every sibling that a shard's own name tells of, must be there."""
    wanted: set[str] = set()
    if "model.safetensors.index.json" in names:
        index = _read_json(folder, "model.safetensors.index.json")
        shards = index.get("weight_map") if isinstance(index, dict) else None
        if not isinstance(shards, dict):
            raise IncompleteCheckpoint("model.safetensors.index.json has no weight_map")
        wanted |= {str(shard) for shard in shards.values()}
    for found in filter(None, map(_SHARD.fullmatch, names)):
        stem, count = found[1], int(found[2])
        wanted |= {f"{stem}-{number:05d}-of-{count:05d}.safetensors" for number in range(1, count + 1)}
        if f"{stem}.safetensors.index.json" not in names:
            raise IncompleteCheckpoint(f"{stem}.safetensors.index.json is missing")
    if missing := sorted(wanted - names):
        raise IncompleteCheckpoint(f"shard {missing[0]} is missing")


def _read_json(folder: Path, name: str) -> Any:
    try:
        return orjson.loads(read_bounded(folder / name, MAX_JSON_BYTES))
    except FileNotFoundError as error:
        raise IncompleteCheckpoint(f"{name} is missing") from error
    except (OSError, orjson.JSONDecodeError) as error:
        raise IncompleteCheckpoint(f"{name} cannot be read: {error}") from error


def _last_number(rows: list[dict[str, object]], key: str) -> float | None:
    for row in reversed(rows):
        value = row.get(key)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
    return None
