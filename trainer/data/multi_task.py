"""Several tasks in one training: each task's rows checked, freed of repetitions, and taken as often as its weight says.

Checks come first, then the split for validation, then the weights: a row that is taken twice must not end up on both
sides of the split.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import datasets
import jsonschema
import jsonschema.validators
import xxhash
from referencing import Registry
from referencing.exceptions import Unresolvable

from sidestep.shared.errors import DatasetError
from sidestep.shared.logs import get_logger
from sidestep.trainer.config.data_options import MultiTaskOptions, RowChecks, TaskOptions
from sidestep.trainer.config.fields import TrainingConfig
from sidestep.trainer.data.preparation import Check, Preparation
from sidestep.trainer.data.report import RowReport
from sidestep.trainer.data.rows import Example, UnusableRow
from sidestep.trainer.data.sources import open_source
from sidestep.trainer.data.split import SPLIT_SEED, split_off

log = get_logger("trainer.data")

Splits = tuple[datasets.Dataset, datasets.Dataset | None, datasets.Dataset | None]


def load_tasks(config: TrainingConfig, options: MultiTaskOptions, preparation: Preparation) -> Splits:
    """Training, validation and test rows of all tasks. Raises DatasetError that names the task's file."""
    tasks = {name: task for name, task in options.tasks.items() if task.weight > 0}
    for name in options.tasks.keys() - tasks.keys():
        log.warning("task %s has weight 0 and is left out", name)
    if not tasks:
        raise DatasetError("every task of the multi-task data has weight 0", hint="give one a weight")

    def load(choose: Callable[[TaskOptions], str | None]) -> dict[str, datasets.Dataset]:
        check = row_check(options.validation)  # repetitions are those within training, validation or test rows
        paths = {name: path for name, task in tasks.items() if (path := choose(task))}
        return {name: _load(config, preparation, path, check) for name, path in paths.items()}

    train = load(lambda task: task.train)
    validation = load(lambda task: task.valid)
    test = load(lambda task: task.test)
    if config.evaluation_strategy == "no":
        validation = {}
    elif not validation:
        train, validation = _split(train, config.validation_rows)
    elif without := sorted(tasks.keys() - validation.keys()):
        log.warning("tasks without validation rows: %s", ", ".join(without))
    parts = [_take_by_weight(name, rows, tasks[name].weight) for name, rows in train.items()]
    taken = [rows for rows in parts if len(rows)]
    if not taken:
        raise DatasetError("the weights leave no row of any task", hint="raise them")
    return datasets.concatenate_datasets(taken), _concatenate(validation), _concatenate(test)


def _load(config: TrainingConfig, preparation: Preparation, path: str, check: Check) -> datasets.Dataset:
    source = open_source(path, format_name=config.format)
    return preparation.load(source.rows(streaming=False), RowReport(path), check)


def _concatenate(parts: dict[str, datasets.Dataset]) -> datasets.Dataset | None:
    return datasets.concatenate_datasets(list(parts.values())) if parts else None


def _split(train: dict[str, datasets.Dataset], most: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """A tenth of all rows, taken from all tasks together, so that every task has its share."""
    named = [rows.add_column("task", [name] * len(rows)) for name, rows in train.items()]
    left, kept = split_off(datasets.concatenate_datasets(named), most, "multi-task data")
    log.info("%d rows are split off for validation, %d are left for training", len(kept), len(left))

    def by_task(rows: datasets.Dataset) -> dict[str, datasets.Dataset]:
        numbers: dict[str, list[int]] = {name: [] for name in train}
        for number, name in enumerate(rows["task"]):
            numbers[name].append(number)
        rows = rows.remove_columns("task")
        return {name: rows.select(which) for name, which in numbers.items() if which}

    return by_task(left), by_task(kept)


def _take_by_weight(name: str, rows: datasets.Dataset, weight: float) -> datasets.Dataset:
    """The task's rows as often as its weight says: whole copies, and a random part (seed 42) for the rest."""
    wanted = round(len(rows) * weight)
    copies, rest = divmod(wanted, len(rows))
    numbers = list(range(len(rows))) * copies
    numbers += sorted(random.Random(SPLIT_SEED).sample(range(len(rows)), rest))  # noqa: S311 - not a secret
    if not wanted:
        log.warning("task %s: weight %g leaves none of its %d rows", name, weight, len(rows))
    else:
        log.info("task %s: weight %g makes %d of %d rows", name, weight, wanted, len(rows))
    return rows.select(numbers)


def row_check(checks: RowChecks) -> Check:
    """A function that refuses (UnusableRow) the rows that the checks forbid; it remembers rows for deduplication."""
    seen: set[int] = set()

    def check(row: Any, example: Example) -> None:
        answers = [example.answer] + ([example.rejected["content"]] if example.rejected else [])
        for answer in answers[:1]:
            _check_length(answer, checks)
            if checks.validate_json or checks.validate_schema:
                _check_json(answer, row if isinstance(row, dict) else {}, checks)
        if checks.deduplicate:
            key = xxhash.xxh3_128_intdigest(json.dumps([row.get("task"), example.messages, answers]).encode())
            if key in seen:
                raise UnusableRow("it repeats an earlier row")
            seen.add(key)

    return check


def _check_length(answer: str, checks: RowChecks) -> None:
    if checks.min_length is not None and len(answer) < checks.min_length:
        raise UnusableRow(f"the answer is shorter than min_length {checks.min_length}")
    if checks.max_length is not None and len(answer) > checks.max_length:
        raise UnusableRow(f"the answer is longer than max_length {checks.max_length}")


def _check_json(answer: str, row: dict[str, Any], checks: RowChecks) -> None:
    schema = _schema_of(row) if checks.validate_schema else None
    if not checks.validate_json and schema is None:
        return
    try:
        document = json.loads(answer)
    except (ValueError, RecursionError) as error:
        raise UnusableRow("the answer is not JSON") from error
    if schema is not None:
        validator = jsonschema.validators.validator_for(schema)
        try:
            validator.check_schema(schema)
            validator(schema, registry=Registry()).validate(document)
        except jsonschema.SchemaError as error:
            raise UnusableRow("its schema is not a JSON Schema") from error
        except (jsonschema.ValidationError, Unresolvable, RecursionError) as error:
            raise UnusableRow("the answer does not satisfy the row's schema") from error


def _schema_of(row: dict[str, Any]) -> dict[str, Any] | None:
    """The JSON Schema that a row brings, in its input or beside it; a schema of another kind, like SQL, is none."""
    given = row.get("input")
    schema = given.get("schema") if isinstance(given, dict) else None
    schema = row.get("schema") if schema is None else schema
    if isinstance(schema, str):
        try:
            schema = json.loads(schema)
        except (ValueError, RecursionError):
            return None
    return schema if isinstance(schema, dict) else None
