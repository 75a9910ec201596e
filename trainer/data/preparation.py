"""Rows of any source to a data set the Trainer takes, at once or as a stream, with an account of them all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import datasets
from transformers import PreTrainedTokenizerBase

from sidestep.trainer.config.data_options import RowShape
from sidestep.trainer.data.report import RowReport
from sidestep.trainer.data.rows import Example, UnusableRow, to_example
from sidestep.trainer.data.tokens import PREFERENCE_FEATURES, TOKEN_FEATURES, cut, preference, tokenize

ROWS_PER_PIECE = 2000
"""Rows that become Arrow memory together: lists of Python numbers take ten times the room."""

Placed = Iterable[tuple[str, Any]]
Columns = dict[str, Any]
Check = Callable[[Any, Example], None]


@dataclass(frozen=True)
class Preparation:
    """How one training turns rows into what its Trainer takes."""

    shape: RowShape
    tokenizer: PreTrainedTokenizerBase
    longest: int

    @property
    def features(self) -> datasets.Features:
        """The columns that come out: tokens and labels, or for dpo prompt, chosen and rejected."""
        return PREFERENCE_FEATURES if self.shape.method == "dpo" else TOKEN_FEATURES

    def stream(self, rows: Placed, report: RowReport, check: Check | None = None) -> Iterator[Columns]:
        """The usable rows, one at a time; the others go into the report. ``check`` may refuse more (UnusableRow)."""
        for place, row in rows:
            report.note_columns(row)
            try:
                if isinstance(row, UnusableRow):
                    raise row
                example = to_example(row, self.shape)
                if check:
                    check(row, example)
                columns = self.columns(example, report)
            except UnusableRow as error:
                report.leave_out(place, str(error), None if row is error else row)
            else:
                report.taken += 1
                yield columns

    def columns(self, example: Example, report: RowReport) -> Columns:
        """What the Trainer takes of one example. Raises UnusableRow."""
        if self.shape.method == "dpo":
            return preference(example, self.tokenizer, self.longest)
        ids, labels = tokenize(example, self.tokenizer)
        kept = cut(ids, labels, self.longest)
        report.shortened += len(ids) > self.longest
        return kept

    def load(self, rows: Placed, report: RowReport, check: Check | None = None) -> datasets.Dataset:
        """All usable rows in memory. Raises DatasetError when there are none."""
        data = to_dataset(self.stream(rows, report, check), self.features)
        report.write()
        report.check(self.shape.mapped)
        return data


def to_dataset(rows: Iterable[Columns], features: datasets.Features) -> datasets.Dataset:
    """Rows in Arrow memory."""
    pieces: list[datasets.Dataset] = []
    waiting: list[Columns] = []

    def flush() -> None:
        pieces.append(datasets.Dataset.from_dict({name: [row[name] for row in waiting] for name in features}, features))
        waiting.clear()

    for row in rows:
        waiting.append(row)
        if len(waiting) == ROWS_PER_PIECE:
            flush()
    if waiting or not pieces:
        flush()
    return datasets.concatenate_datasets(pieces)
