"""From the data sets found in the wild to prompts and completions, in which only the completion is learnt.

Each usable row becomes ``{"prompt": [messages], "completion": [one assistant message]}``; TRL renders it in the base
model's own chat template and masks the prompt. Rows that cannot be used are counted and sampled in the log.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets

from shared.errors import DatasetError
from shared.logs import get_logger
from trainer.chat import ChatMessage, parse_conversation
from trainer.config import TrainingConfig

log = get_logger("trainer.data")

SPLIT_SEED = 42
SPLIT_SHARE = 0.1

_BUILDERS = {".json": "json", ".jsonl": "json", ".csv": "csv", ".parquet": "parquet"}
_FORMATS = {"json": "json", "jsonl": "json", "csv": "csv", "parquet": "parquet"}
_CONVERSATIONS = ("messages", "conversations", "conversation")
_TEXTS = ("text",)
_INSTRUCTIONS = ("instruction", "prompt", "question", "sql_prompt")
_INPUTS = ("input", "context")
_OUTPUTS = ("response", "output", "answer", "completion", "cypher", "sql")
_SYSTEMS = ("system", "system_prompt")
_ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}

Row = dict[str, Any]


@dataclass(frozen=True)
class Columns:
    """Which column plays which role in one data set; the first three are alternatives, in this order."""

    conversation: str | None = None
    text: str | None = None
    instruction: str | None = None
    output: str | None = None
    input: str | None = None
    system: str | None = None


@dataclass(frozen=True)
class TrainingData:
    """Rows as TRL takes them: ``prompt`` and ``completion`` columns of messages."""

    train: datasets.Dataset
    validation: datasets.Dataset | None = None
    test: datasets.Dataset | None = None


def load_training_data(config: TrainingConfig) -> TrainingData:
    """Training, validation and test rows. Raises DatasetError that says which file and what is wrong with it."""
    train = load_rows(config, config.dataset_path)
    validation = load_rows(config, config.validation_path) if config.validation_path else None
    if validation is None and config.evaluation_strategy != "no":
        share = min(max(1, round(len(train) * SPLIT_SHARE)), config.validation_rows)
        if len(train) < 2:
            raise DatasetError(
                f"{config.dataset_path}: one row cannot be split for validation", hint="name validation_path"
            )
        parts = train.train_test_split(test_size=share, seed=SPLIT_SEED)
        train, validation = parts["train"], parts["test"]
        log.info("%d rows are split off for validation, %d are left for training", len(validation), len(train))
    test = load_rows(config, config.test_path) if config.test_path else None
    return TrainingData(train, validation, test)


def load_rows(config: TrainingConfig, path: str) -> datasets.Dataset:
    """One data set as prompts and completions. Raises DatasetError."""
    raw = _read(config, path)
    columns = choose_columns(raw.column_names, config.field_mapping or {}, config.text_field, path)
    usable, unusable = _convert(raw, columns)
    if unusable:
        sample = "; ".join(f"{reason}: {count}" for reason, count in unusable.most_common(3))
        log.warning("%s: %d of %d rows cannot be used (%s)", path, unusable.total(), len(raw), sample)
    if not usable:
        raise DatasetError(
            f"{path}: none of its {len(raw)} rows can be used", hint="see docs/configuration.md for the shapes"
        )
    log.info("%s: %d rows", path, len(usable))
    return datasets.Dataset.from_list(usable)


def _read(config: TrainingConfig, path: str) -> datasets.Dataset:
    if not path:
        raise DatasetError("no dataset is named", hint="set training.dataset.path in the manifest, or dataset_path")
    local = Path(path)
    if not local.exists():
        if _is_hub_id(path):
            return _read_hub(path)
        raise DatasetError(
            f"the dataset {path} does not exist", hint="correct dataset_path; relative paths start at the manifest"
        )
    builder = _BUILDERS.get(local.suffix.lower()) or _FORMATS.get(config.format or "")
    if builder is None:
        raise DatasetError(f"{path} is of unknown format", hint=f"set format to one of {', '.join(_FORMATS)}")
    if local.stat().st_size == 0:
        raise DatasetError(f"{path} is empty")
    try:
        return datasets.load_dataset(builder, data_files=str(local), split="train")
    except (datasets.exceptions.DatasetGenerationError, ValueError, OSError) as error:
        cause = str(error.__cause__ or error).strip().splitlines()[0]
        raise DatasetError(f"{path} cannot be read as {builder}: {cause}", hint="correct the file there") from error


def _is_hub_id(path: str) -> bool:
    name = path.split("::")[0]
    return name.count("/") == 1 and not name.startswith((".", "/", "~")) and not Path(name).suffix


def _read_hub(path: str) -> datasets.Dataset:
    name, split, config = (*path.split("::"), "", "")[:3]
    try:
        return datasets.load_dataset(name, config or None, split=split or "train")
    except (OSError, ValueError, datasets.exceptions.DatasetNotFoundError) as error:
        reason = str(error).strip().splitlines()[0]
        raise DatasetError(
            f"the dataset {name} is neither a local path nor to be had from the hub: {reason}"
        ) from error


def choose_columns(names: list[str], mapping: dict[str, str], text_field: str | None, where: str) -> Columns:
    """Which column is what: as mapped, else by the names seen in the wild. Raises DatasetError listing both."""
    unknown = sorted(set(mapping.values()) - set(names))
    if unknown:
        raise DatasetError(f"{where}: field_mapping names columns that do not exist: {', '.join(unknown)}",
                           hint=f"it has {', '.join(names)}")  # fmt: skip

    def first(*candidates: str | None) -> str | None:
        return next((each for each in candidates if each and each in names), None)

    found = Columns(
        conversation=first(mapping.get("messages"), *_CONVERSATIONS),
        text=first(text_field, mapping.get("text"), *_TEXTS),
        instruction=first(mapping.get("instruction"), mapping.get("prompt"), *_INSTRUCTIONS),
        output=first(mapping.get("output"), mapping.get("response"), mapping.get("completion"), *_OUTPUTS),
        input=first(mapping.get("input"), *_INPUTS),
        system=first(mapping.get("system"), *_SYSTEMS),
    )
    if found.conversation or found.text or (found.instruction and found.output):
        return found
    raise DatasetError(
        f"{where} has no usable column: it has {', '.join(names)}",
        hint="use text, messages, or instruction and response columns, or name them in field_mapping",
    )


def _convert(raw: datasets.Dataset, columns: Columns) -> tuple[list[Row], Counter[str]]:
    usable: list[Row] = []
    unusable: Counter[str] = Counter()
    for row in raw:
        messages, reason = _messages(row, columns)
        last = max((at for at, each in enumerate(messages) if each["role"] == "assistant"), default=0)
        if not reason and (last == 0 or not messages[last]["content"].strip()):
            reason = "no assistant's turn"
        if reason:
            unusable[reason] += 1
        else:
            usable.append({"prompt": messages[:last], "completion": [messages[last]]})
    return usable, unusable


def _messages(row: Row, columns: Columns) -> tuple[list[ChatMessage], str]:
    """Messages of one row, or the reason why there are none."""
    if columns.conversation:
        return _from_turns(row[columns.conversation])
    if columns.text:
        messages = parse_conversation(str(row[columns.text] or ""))
        return messages, "" if messages else "text is no conversation"
    instruction, output = row[columns.instruction or ""], row[columns.output or ""]
    if not isinstance(instruction, str) or not isinstance(output, str):
        return [], "instruction or answer is no text"
    extra = row.get(columns.input) if columns.input else None
    if isinstance(extra, str) and extra.strip():
        instruction = f"{instruction}\n\n{extra}"
    system = row.get(columns.system) if columns.system else None
    messages = [ChatMessage(role="system", content=system)] if isinstance(system, str) and system else []
    messages += [ChatMessage(role="user", content=instruction), ChatMessage(role="assistant", content=output)]
    return messages, ""


def _from_turns(turns: Any) -> tuple[list[ChatMessage], str]:
    if not isinstance(turns, list):
        return [], "messages are no list"
    messages = []
    for turn in turns:
        role = _ROLES.get(str(turn.get("role") or turn.get("from"))) if isinstance(turn, dict) else None
        content = (turn.get("content") or turn.get("value")) if role else None
        if role is None or not isinstance(content, str):
            return [], "a message has no known role or no text"
        messages.append(ChatMessage(role=role, content=content))
    return messages, ""
