"""Training on rows as they are read: never more than a shuffle buffer of them in memory.

A Trainer has to know its number of steps beforehand. It is counted in one pass over the data, or comes from max_steps,
never from a guess. The stream itself has no end: epochs follow one another, each shuffled anew, so that no batch is cut
short between them and resuming finds its place by counting rows.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import datasets

from sidestep.shared.errors import DatasetError
from sidestep.shared.logs import get_logger
from sidestep.trainer.config.fields import TrainingConfig
from sidestep.trainer.data.preparation import Columns, Preparation, to_dataset
from sidestep.trainer.data.report import RowReport
from sidestep.trainer.data.sources import Hub, Source
from sidestep.trainer.data.split import sample_of_stream

log = get_logger("trainer.data")

DEFAULT_BUFFER = 1000
"""Rows kept for shuffling when max_in_memory_samples does not say."""


@dataclass(frozen=True)
class Stream:
    """Endless training rows, the validation rows kept from them, and the steps to take."""

    train: datasets.IterableDataset
    validation: datasets.Dataset | None
    steps: int | None


def open_stream(config: TrainingConfig, source: Source, preparation: Preparation, *, split: bool) -> Stream:
    """The training stream of one source; ``split`` keeps a part for validation. Raises DatasetError."""
    kept: dict[int, Any] = {}
    if split or (config.max_steps is None and not isinstance(source, Hub)):
        if isinstance(source, Hub):
            raise DatasetError(
                f"{source.name}: streamed from the hub, it cannot be split for validation without reading all of it",
                hint="name validation_path, for example name::validation, or set evaluation_strategy to no",
            )
        kept, rows = _read_once(config, source, preparation, split)
    elif config.max_steps is None:
        rows = _declared_rows(source)
    else:
        rows = None
    steps = config.max_steps or (optimizer_steps(config, rows) if rows else None)
    if rows:
        log.info("%s: %d rows for training make %d steps", source.name, rows, steps)
    validation = to_dataset(kept.values(), preparation.features) if split else None
    train = _endless_rows(config, source, preparation, frozenset(kept), counted=rows is not None)
    return Stream(train, validation, steps)


def _read_once(
    config: TrainingConfig, source: Source, preparation: Preparation, split: bool
) -> tuple[dict[int, Any], int]:
    """One pass: counts usable rows, says which are not, and keeps the validation rows."""
    log.info("%s: reading once to count its rows (max_steps and validation_path would spare this)", source.name)
    report = RowReport(source.name)
    usable = preparation.stream(source.rows(streaming=True), report)
    kept, count = sample_of_stream(usable, config.validation_rows if split else 0)
    report.write()
    report.check(preparation.shape.mapped)
    if count <= len(kept):
        raise DatasetError(f"{source.name}: one row cannot be split for validation", hint="name validation_path")
    return kept, count - len(kept)


def _declared_rows(source: Source) -> int:
    rows = source.declared_rows()
    if rows is None:
        raise DatasetError(
            f"{source.name}: its number of rows is not known, so the number of steps cannot be derived",
            hint="set max_steps",
        )
    return rows


def _endless_rows(
    config: TrainingConfig, source: Source, preparation: Preparation, left_out: frozenset[int], *, counted: bool
) -> datasets.IterableDataset:
    def one_pass(epoch: int) -> Iterator[Columns]:
        report = RowReport(source.name)
        usable = preparation.stream(source.rows(streaming=True), report)
        yield from (row for number, row in enumerate(usable) if number not in left_out)
        if epoch == 0 and not counted:
            report.write()
        report.check(preparation.shape.mapped)

    def epochs() -> Iterator[Columns]:
        for epoch in itertools.count():
            rows = datasets.IterableDataset.from_generator(
                one_pass, gen_kwargs={"epoch": epoch}, features=preparation.features
            )
            yield from rows.shuffle(config.seed + epoch, buffer_size=config.max_in_memory_samples or DEFAULT_BUFFER)

    return datasets.IterableDataset.from_generator(epochs, features=preparation.features)


def optimizer_steps(config: TrainingConfig, rows: int) -> int:
    """Optimizer steps for ``epochs`` passes over this many rows, as the Trainer counts them for loaded data."""
    processes = max(1, int(os.environ.get("WORLD_SIZE", "1")))
    batches = _at_least_one(rows, config.batch_size * processes)
    updates = _at_least_one(batches, config.gradient_accumulation_steps)
    whole = config.epochs * updates
    return max(1, int(whole) + (whole > int(whole)))


def _at_least_one(amount: int, size: int) -> int:
    return max(1, -(-amount // size))
