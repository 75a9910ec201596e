"""Which rows are kept for validation when no data for it is named: a tenth, always the same ones."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import datasets

from sidestep.shared.errors import DatasetError

SPLIT_SEED = 42
SPLIT_SHARE = 0.1


def validation_size(rows: int, most: int) -> int:
    """How many of these rows are kept for validation: a tenth, at least one, at most ``most``."""
    return min(max(1, round(rows * SPLIT_SHARE)), most)


def split_off(data: datasets.Dataset, most: int, name: str) -> tuple[datasets.Dataset, datasets.Dataset]:
    """Training and validation rows. Raises DatasetError when there is nothing to split."""
    if len(data) < 2:
        raise DatasetError(f"{name}: one row cannot be split for validation", hint="name validation_path")
    parts = data.train_test_split(test_size=validation_size(len(data), most), seed=SPLIT_SEED)
    return parts["train"], parts["test"]


def sample_of_stream(rows: Iterable[Any], most: int) -> tuple[dict[int, Any], int]:
    """Validation rows of a stream by their number in it, and how many rows there are, in one pass.

    Every row has the same chance, and never more than ``most`` rows are held (reservoir sampling, Vitter's
    algorithm R).
    """
    chance = random.Random(SPLIT_SEED)  # noqa: S311 - not a secret
    kept: list[tuple[int, Any]] = []
    count = 0
    for number, row in enumerate(rows):
        count += 1
        if len(kept) < most:
            kept.append((number, row))
        elif (place := chance.randrange(number + 1)) < most:
            kept[place] = (number, row)
    if count and (size := validation_size(count, most)) < len(kept):
        kept = chance.sample(kept, size)
    return dict(sorted(kept)), count
