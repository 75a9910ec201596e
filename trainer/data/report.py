"""Counts what became of a data set's rows, and says so in the log: how many, why not, and examples of each reason."""

from __future__ import annotations

import reprlib
from collections import Counter, defaultdict
from typing import Any

from sidestep.shared.errors import DatasetError
from sidestep.shared.logs import get_logger

log = get_logger("trainer.data")

SAMPLES_PER_REASON = 2
REASONS_SHOWN = 8
EXCERPT_CHARACTERS = 120


class RowReport:
    """The account of one data set: rows taken, rows left out by reason, and rows that were shortened."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.taken = 0
        self.shortened = 0
        self.left_out: Counter[str] = Counter()
        self.columns: set[str] = set()
        self._samples: defaultdict[str, list[str]] = defaultdict(list)

    @property
    def seen(self) -> int:
        return self.taken + self.left_out.total()

    def leave_out(self, where: str, reason: str, row: Any = None) -> None:
        """Count a row that cannot be used; the first ones of each reason are kept for the log."""
        self.left_out[reason] += 1
        if len(self._samples[reason]) < SAMPLES_PER_REASON:
            self._samples[reason].append(f"{where}: {excerpt(row)}" if row is not None else where)

    def note_columns(self, row: Any) -> None:
        if isinstance(row, dict):
            self.columns.update(name for name in row if isinstance(name, str))

    def write(self) -> None:
        """The account in the log; a warning when rows were left out."""
        log.info("%s: %d rows", self.name, self.taken)
        if self.left_out:
            log.warning("%s: %d of %d rows cannot be used", self.name, self.left_out.total(), self.seen)
        for reason, count in self.left_out.most_common(REASONS_SHOWN):
            log.warning("  %d × %s; for example %s", count, reason, "; ".join(self._samples[reason]))
        if len(self.left_out) > REASONS_SHOWN:
            log.warning("  and %d other reasons", len(self.left_out) - REASONS_SHOWN)
        if self.shortened:
            log.warning("%s: %d rows are longer than max_seq_length and cut at the end", self.name, self.shortened)

    def check(self, mapped: dict[str, str]) -> None:
        """Raises DatasetError when nothing is usable, or a column that the configuration names is nowhere."""
        missing = sorted(set(mapped.values()) - self.columns)
        if missing and self.seen:
            raise DatasetError(
                f"{self.name}: field_mapping or text_field names columns that do not exist: {', '.join(missing)}",
                hint=f"it has {', '.join(sorted(self.columns)) or 'none'}",
            )
        if not self.seen:
            raise DatasetError(f"{self.name} is empty")
        if not self.taken:
            reason, count = self.left_out.most_common(1)[0]
            raise DatasetError(
                f"{self.name}: none of its {self.seen} rows can be used; {count} × {reason}",
                hint="docs/data.md shows the shapes that are understood",
            )


def excerpt(row: Any) -> str:
    """The beginning of a row, on one line and safe to print, however large or deep the row is."""
    text = _SHORT.repr(row).encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= EXCERPT_CHARACTERS else text[:EXCERPT_CHARACTERS] + "…"


_SHORT = reprlib.Repr()
_SHORT.maxlevel = 4
_SHORT.maxstring = _SHORT.maxother = EXCERPT_CHARACTERS
