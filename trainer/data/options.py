"""What the data fields of a training mean together: checked before anything is read, and without loading a library.

Raises ConfigError for contradictions; whatever is left has an effect.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sidestep.shared.chat_templates import template_named
from sidestep.shared.errors import ConfigError

if TYPE_CHECKING:
    from sidestep.trainer.config import TrainingConfig

FORMATS = ("json", "jsonl", "csv", "parquet", "huggingface")

# Roles a column can play, and the names under which field_mapping may speak of them.
ROLES = {
    "messages": "messages", "conversations": "messages", "conversation": "messages",
    "text": "text",
    "instruction": "instruction", "prompt": "instruction", "question": "instruction",
    "input": "input", "context": "input",
    "output": "output", "response": "output", "completion": "output", "answer": "output",
    "system": "system", "system_prompt": "system",
    "chosen": "chosen", "rejected": "rejected",
}  # fmt: skip


class TaskOptions(BaseModel):
    """One task of a multi-task data set."""

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)

    train: str = Field(min_length=1)
    """File with the task's rows."""
    valid: str | None = Field(default=None, alias="validation")
    """File with validation rows."""
    test: str | None = None
    """File with test rows."""
    weight: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    """Share of the task's rows to train on: 0.5 takes a random half, 2 takes each row twice."""
    format: Literal["sft", "dpo"] = "sft"
    """sft: rows have an output; dpo: rows have chosen and rejected."""


class RowChecks(BaseModel):
    """Which rows of a multi-task data set are taken."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    validate_json: bool = False
    """Answers must be JSON."""
    validate_schema: bool = False
    """Answers must satisfy the JSON Schema that the row brings (in its input, or beside it), where it brings one."""
    deduplicate: bool = False
    """A row that repeats an earlier one (task, input and answer) is left out."""
    min_length: int | None = Field(default=None, ge=0)
    """Shortest answer, in characters."""
    max_length: int | None = Field(default=None, ge=1)
    """Longest answer, in characters."""


class MultiTaskOptions(BaseModel):
    """The dataset block of a multi-task training."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    tasks: dict[str, TaskOptions] = Field(min_length=1)
    validation: RowChecks = RowChecks()


@dataclass(frozen=True)
class RowShape:
    """How a row is read: which columns play which role, and for which objective."""

    method: Literal["sft", "dpo"] = "sft"
    columns: tuple[tuple[str, str], ...] = ()
    text_field: str | None = None

    @property
    def mapped(self) -> dict[str, str]:
        """Role to column, as field_mapping and text_field say."""
        return dict(self.columns) | ({"text": self.text_field} if self.text_field else {})


def row_shape(config: TrainingConfig) -> RowShape:
    """How this training's rows are read. Raises ConfigError for a field_mapping that names unknown roles."""
    mapped: dict[str, str] = {}
    for name, column in (config.field_mapping or {}).items():
        role = ROLES.get(name)
        if role is None:
            raise ConfigError(
                f"field_mapping: '{name}' is not a role that a column can play",
                hint=f'it maps roles to columns, like {{"instruction": "question"}}; roles are {", ".join(ROLES)}',
            )
        if mapped.setdefault(role, column) != column:
            raise ConfigError(f"field_mapping names two columns for {role}: {mapped[role]} and {column}")
    return RowShape(config.method, tuple(mapped.items()), config.text_field)


def multi_task_options(config: TrainingConfig) -> MultiTaskOptions:
    """The tasks and checks of a multi-task training. Raises ConfigError that says which key is wrong."""
    block = {key: value for key, value in (config.multi_task_config or {}).items() if key in ("tasks", "validation")}
    if "tasks" not in block:
        raise ConfigError("multi-task data without tasks", hint='add "tasks": {"name": {"train": "file.jsonl"}}')
    try:
        return MultiTaskOptions.model_validate({key: value for key, value in block.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"multi-task data: {where} = {first['input']!r} is wrong: {first['msg']}") from error


def check_data_options(config: TrainingConfig, where: str) -> None:
    """Raises ConfigError for data fields that contradict each other."""
    row_shape(config)
    if config.prompt_template is not None:
        template_named(config.prompt_template)
    if is_multi_task(config):
        _check_multi_task(config, where)
    elif config.multi_task_config:
        raise ConfigError(f"{where}: multi_task_config belongs to dataset_type multi_task", hint="remove one of them")
    if config.use_pretokenized or config.pretokenized_cache:
        _check_pretokenized(config, where)
    if config.streaming:
        _check_streaming(config, where)
    if config.max_in_memory_samples is not None and config.max_in_memory_samples < 1:
        raise ConfigError(f"{where}: max_in_memory_samples = {config.max_in_memory_samples} must be at least 1")


def ineffective_options(config: TrainingConfig) -> list[str]:
    """One line for each data field that is set but changes nothing in this training. Pure."""
    lines = []
    if config.max_in_memory_samples is not None and not config.streaming:
        lines.append("max_in_memory_samples has no effect without streaming")
    if config.validation_path and config.evaluation_strategy == "no":
        lines.append("validation_path has no effect while evaluation_strategy is no")
    if config.format not in (None, *FORMATS):
        lines.append(f"format '{config.format}' is not known ({', '.join(FORMATS)}): the file's suffix decides")
    if is_multi_task(config):
        for name in ("dataset_path", "validation_path", "test_path"):
            if getattr(config, name):
                lines.append(f"{name} has no effect in multi-task data: each task names its own files")
        lines += [f"multi-task data: the key {name} is not known and ignored" for name in _unknown_keys(config)]
    return lines


def _unknown_keys(config: TrainingConfig) -> list[str]:
    block = config.multi_task_config or {}
    known = set(TaskOptions.model_fields) | {"validation"}
    unknown = {f"tasks.{name}.{key}" for name, task in block["tasks"].items() for key in task if key not in known}
    unknown |= {f"validation.{key}" for key in block.get("validation") or {} if key not in RowChecks.model_fields}
    return sorted(unknown | {key for key in block if key not in ("type", "tasks", "validation")})


def is_multi_task(config: TrainingConfig) -> bool:
    return config.dataset_type == "multi_task"


def _check_multi_task(config: TrainingConfig, where: str) -> None:
    options = multi_task_options(config)
    if config.method == "dpo" and (wrong := [name for name, task in options.tasks.items() if task.format == "sft"]):
        raise ConfigError(
            f"{where}: method is dpo, but these tasks are of format sft: {', '.join(wrong)}",
            hint="rows for dpo need chosen and rejected; leave these tasks out or train with method sft",
        )
    for name in ("streaming", "use_pretokenized"):
        if getattr(config, name):
            raise ConfigError(f"{where}: {name} is for one data set, not for several tasks", hint="set it to false")


def _check_pretokenized(config: TrainingConfig, where: str) -> None:
    if config.method == "dpo":
        raise ConfigError(
            f"{where}: pre-tokenized data is for method sft; rows for dpo are tokenized when training starts",
            hint="remove use_pretokenized and pretokenized_cache",
        )
    if config.streaming:
        raise ConfigError(
            f"{where}: pre-tokenized data and streaming exclude each other",
            hint="pre-tokenized data stays on disk and is read as needed: set streaming to false",
        )


def _check_streaming(config: TrainingConfig, where: str) -> None:
    if config.group_by_length:
        raise ConfigError(
            f"{where}: group_by_length and streaming are both true",
            hint="a stream's rows are not known beforehand, so they cannot be sorted by length: choose one",
        )
    if config.packing and config.max_steps is None:
        raise ConfigError(
            f"{where}: with streaming and packing the number of steps cannot be known beforehand",
            hint="set max_steps, or packing to false",
        )


def optimizer_steps(config: TrainingConfig, rows: int) -> int:
    """Optimizer steps for ``epochs`` passes over this many rows, as the Trainer counts them for loaded data."""
    processes = max(1, int(os.environ.get("WORLD_SIZE", "1")))
    batches = _at_least_one(rows, config.batch_size * processes)
    updates = _at_least_one(batches, config.gradient_accumulation_steps)
    whole = config.epochs * updates
    return max(1, int(whole) + (whole > int(whole)))


def _at_least_one(amount: int, size: int) -> int:
    return max(1, -(-amount // size))


def fingerprint_fields(config: TrainingConfig) -> dict[str, Any]:
    """The settings on which the tokens of a data set depend, beside tokenizer and files."""
    names = ("max_seq_length", "prompt_template", "text_field", "field_mapping", "format", "dataset_type",
             "validation_path", "test_path", "validation_rows", "multi_task_config")  # fmt: skip
    return {name: getattr(config, name) for name in names} | {"split": config.evaluation_strategy != "no"}
