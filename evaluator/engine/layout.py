"""Where each token of a step goes: the flattened sequence for products, and rows of a few widths for attention.

A step takes tokens from every live case. Linear layers see them as one sequence. Attention sees rows, one a case; rows
that read their prompt are wide, rows that write their answer are narrow, and the two are computed apart, because a
narrow row padded to a wide one would cost as much.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

NARROW = 16  # query positions up to which a row counts as narrow
_SMALLEST_WIDTHS = (1, 2, 4, 8, 16)


@dataclass(frozen=True)
class Work:
    """What one case contributes to a step: tokens at consecutive positions, and how many predictions it wants.

    The predictions are those after its last ``wanted`` tokens.
    """

    start: int
    tokens: Sequence[int]
    wanted: int

    @property
    def end(self) -> int:
        return self.start + len(self.tokens)


@dataclass(frozen=True)
class Heads:
    """Shape of a model's attention. ``rows``: every product gets a multiple of this many rows."""

    query: int
    key_value: int
    size: int
    rows: int

    @property
    def group(self) -> int:
        """Query heads that share a key/value head; they become further query rows of it."""
        return self.query // self.key_value


@dataclass(frozen=True)
class Band:
    """Rows of like width, for one attention call.

    ``slots`` are the rows' slots, or None for the first ``count`` ones; ``tokens`` are the rows' tokens in the
    flattened sequence, or None for all of them; ``places`` says where each (token, query head) lies in the packed
    queries of shape (count, key/value heads, width, head size); ``mask`` is (count, 1, width, capacity).
    """

    count: int
    width: int
    slots: torch.Tensor | None
    tokens: torch.Tensor | None
    places: torch.Tensor
    mask: torch.Tensor


@dataclass(frozen=True)
class StepLayout:
    """A step's tensors. The last ``padding`` tokens repeat the first one, and nothing of them is kept."""

    ids: torch.Tensor
    positions: torch.Tensor
    padding: int
    cache_rows: torch.Tensor  # where keys and values of each (token, key/value head) go
    bands: tuple[Band, ...]
    wanted: tuple[int, ...]  # tokens of the flattened sequence whose predictions are wanted

    def wanted_rows(self, group: int) -> torch.Tensor:
        """``wanted`` as an index, filled up to a multiple of ``group``."""
        rows = [*self.wanted, *self.wanted[:1] * (-len(self.wanted) % group)]
        return torch.tensor(rows, device=self.ids.device)


@dataclass(frozen=True)
class Target:
    """Where a layout is to be: device, dtype of the masks, and key positions per slot."""

    device: torch.device
    dtype: torch.dtype
    capacity: int


def lay_out(work: Sequence[Work], heads: Heads, target: Target) -> StepLayout:
    """The layout of a step; row i of ``work`` is slot i."""
    ids: list[int] = []
    slots: list[int] = []
    positions: list[int] = []
    wanted: list[int] = []
    for slot, case in enumerate(work):
        ids += case.tokens
        slots += [slot] * len(case.tokens)
        positions += range(case.start, case.end)
        wanted += range(len(ids) - case.wanted, len(ids))
    padding = -len(ids) % heads.rows
    where = torch.tensor(positions)
    cache_rows = (torch.tensor(slots)[:, None] * heads.key_value + torch.arange(heads.key_value)) * target.capacity
    return StepLayout(
        ids=torch.tensor(ids + ids[:1] * padding, device=target.device),
        positions=torch.tensor(positions + positions[:1] * padding, device=target.device),
        padding=padding,
        cache_rows=(cache_rows + where[:, None]).reshape(-1).to(target.device),
        bands=tuple(_band(rows, work, heads, target) for rows in banded([len(case.tokens) for case in work])),
        wanted=tuple(wanted),
    )


def banded(counts: Sequence[int]) -> list[list[int]]:
    """Rows by number: the wide ones and the narrow ones, or all together where all are alike. Pure."""
    wide = [row for row, count in enumerate(counts) if count > NARROW]
    narrow = [row for row, count in enumerate(counts) if count <= NARROW]
    return [rows for rows in (wide, narrow) if rows]


def padded_width(count: int) -> int:
    """Query positions of a band whose longest row has ``count`` tokens. Pure."""
    return next((width for width in _SMALLEST_WIDTHS if width >= count), -(-count // 16) * 16)


def _band(rows: list[int], work: Sequence[Work], heads: Heads, target: Target) -> Band:
    """A band for ``rows``; where they are most of all rows, all take part, because slots need no gathering then."""
    whole = 2 * len(rows) > len(work)
    taking_part = list(range(len(work))) if whole else rows
    width = padded_width(max(len(work[row].tokens) for row in rows))
    packed = -(-heads.group * width // heads.rows) * heads.rows
    firsts = [0]
    for case in work:
        firsts.append(firsts[-1] + len(case.tokens))
    chosen = set(rows)
    tokens: list[int] = []
    row_of: list[int] = []
    column_of: list[int] = []
    for number, row in enumerate(taking_part):
        if row in chosen:
            count = len(work[row].tokens)
            tokens += range(firsts[row], firsts[row] + count)
            row_of += [number] * count
            column_of += range(count)
    numbers, columns = torch.tensor(row_of), torch.tensor(column_of)
    key_value, group = torch.arange(heads.key_value)[:, None], torch.arange(heads.group)[None]
    places = numbers[:, None, None] * heads.key_value * packed + key_value * packed + group * width
    places = (places + columns[:, None, None]).reshape(-1)
    reach = torch.zeros(len(taking_part), width, dtype=torch.long)
    starts = torch.tensor([work[row].start for row in taking_part])
    reach[numbers, columns] = starts[numbers] + columns
    unused = reach.new_zeros(len(taking_part), packed - heads.group * width)
    reach = torch.cat([reach.repeat(1, heads.group), unused], 1)
    visible = torch.arange(target.capacity) <= reach[:, None, :, None]
    mask = torch.zeros(visible.shape, dtype=target.dtype).masked_fill_(~visible, float("-inf"))
    return Band(
        count=len(taking_part),
        width=packed,
        slots=None if whole else torch.tensor(rows, device=target.device),
        tokens=None if len(tokens) == firsts[-1] else torch.tensor(tokens, device=target.device),
        places=places.to(target.device),
        mask=mask.to(target.device),
    )
