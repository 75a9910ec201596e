"""Where the tokens of a step go: the flattened sequence for linear layers, and rows of a few widths for attention.

A step takes tokens from every live case. Linear layers see them as one sequence. Attention sees rows, one per case;
rows that read their prompt are wide, rows that write their answer are narrow, and the two are computed separately,
because a narrow row padded to a wide one would cost as much.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

NARROW = 16  # query positions up to which a row counts as narrow
_SMALLEST_WIDTHS = (1, 2, 4, 8, 16)


@dataclass(frozen=True)
class Chunk:
    """What one case contributes to a step: tokens at consecutive positions from ``start``.

    ``predictions`` is how many logits it wants: those after its last so many tokens.
    """

    start: int
    tokens: Sequence[int]
    predictions: int

    @property
    def end(self) -> int:
        """The position after its last token."""
        return self.start + len(self.tokens)


@dataclass(frozen=True)
class Heads:
    """Shape of a model's attention: numbers of query and of key/value heads, and the size of one head.

    ``row_group``: every product gets a multiple of this many rows (see ``determinism``).
    """

    query: int
    key_value: int
    size: int
    row_group: int

    @property
    def sharing(self) -> int:
        """Query heads that share a key/value head; they become further query rows of it."""
        return self.query // self.key_value


@dataclass(frozen=True)
class Band:
    """Rows of similar width, for one attention call.

    ``slots`` [count] are the rows' slots, or None for the first ``count`` ones; ``tokens`` are the rows' tokens in the
    flattened sequence, or None for all of them; ``packed_rows`` [tokens x query heads] says where the query of a
    (token, query head) lies in the packed queries [count, key/value heads, width, head size]; ``mask`` is
    [count, 1, width, capacity], 0 where a query sees a key and -inf elsewhere.
    """

    count: int
    width: int
    slots: torch.Tensor | None
    tokens: torch.Tensor | None
    packed_rows: torch.Tensor
    mask: torch.Tensor


@dataclass(frozen=True)
class StepLayout:
    """A step's tensors. The last ``padding`` tokens repeat the first one, and nothing of them is kept."""

    ids: torch.Tensor  # [tokens]
    positions: torch.Tensor  # [tokens]
    padding: int
    cache_rows: torch.Tensor  # [real tokens x key/value heads]: where their keys and values go
    bands: tuple[Band, ...]
    logit_tokens: tuple[int, ...]  # tokens of the flattened sequence whose predictions are wanted

    def padded_logit_tokens(self, row_group: int) -> torch.Tensor:
        """``logit_tokens`` as an index, filled up to a multiple of ``row_group``."""
        rows = [*self.logit_tokens, *self.logit_tokens[:1] * (-len(self.logit_tokens) % row_group)]
        return torch.tensor(rows, device=self.ids.device)


@dataclass(frozen=True)
class Placement:
    """What a layout is made for: the device, the dtype of the masks, and the slots' key positions."""

    device: torch.device
    dtype: torch.dtype
    capacity: int


def lay_out(chunks: Sequence[Chunk], heads: Heads, placement: Placement) -> StepLayout:
    """The layout of a step; ``chunks[i]`` belongs to slot i."""
    ids: list[int] = []
    slots: list[int] = []
    positions: list[int] = []
    logit_tokens: list[int] = []
    for slot, chunk in enumerate(chunks):
        ids += chunk.tokens
        slots += [slot] * len(chunk.tokens)
        positions += range(chunk.start, chunk.end)
        logit_tokens += range(len(ids) - chunk.predictions, len(ids))
    padding = -len(ids) % heads.row_group
    slot_heads = torch.tensor(slots)[:, None] * heads.key_value + torch.arange(heads.key_value)
    cache_rows = slot_heads * placement.capacity + torch.tensor(positions)[:, None]
    return StepLayout(
        ids=torch.tensor(ids + ids[:1] * padding, device=placement.device),
        positions=torch.tensor(positions + positions[:1] * padding, device=placement.device),
        padding=padding,
        cache_rows=cache_rows.reshape(-1).to(placement.device),
        bands=tuple(
            _make_band(rows, chunks, heads, placement)
            for rows in split_into_bands([len(chunk.tokens) for chunk in chunks])
        ),
        logit_tokens=tuple(logit_tokens),
    )


def split_into_bands(counts: Sequence[int]) -> list[list[int]]:
    """Numbers of the wide rows and of the narrow ones, from their token counts; one list where all are alike. Pure."""
    wide = [row for row, count in enumerate(counts) if count > NARROW]
    narrow = [row for row, count in enumerate(counts) if count <= NARROW]
    return [rows for rows in (wide, narrow) if rows]


def padded_width(count: int) -> int:
    """Query positions of a band whose longest row has ``count`` tokens. Pure."""
    return next((width for width in _SMALLEST_WIDTHS if width >= count), -(-count // 16) * 16)


def _make_band(rows: list[int], chunks: Sequence[Chunk], heads: Heads, placement: Placement) -> Band:
    """A band for ``rows``; where they are most of all rows, all take part, because slots need no gathering then."""
    takes_all = 2 * len(rows) > len(chunks)
    members = list(range(len(chunks))) if takes_all else rows
    width = padded_width(max(len(chunks[row].tokens) for row in rows))
    packed_width = -(-heads.sharing * width // heads.row_group) * heads.row_group
    first_tokens = [0]
    for chunk in chunks:
        first_tokens.append(first_tokens[-1] + len(chunk.tokens))
    chosen = set(rows)
    tokens: list[int] = []
    token_members: list[int] = []
    token_columns: list[int] = []
    for number, row in enumerate(members):
        if row in chosen:
            count = len(chunks[row].tokens)
            tokens += range(first_tokens[row], first_tokens[row] + count)
            token_members += [number] * count
            token_columns += range(count)
    numbers, columns = torch.tensor(token_members), torch.tensor(token_columns)
    starts = torch.tensor([chunks[row].start for row in members])
    last_visible = torch.zeros(len(members), width, dtype=torch.long)
    last_visible[numbers, columns] = starts[numbers] + columns
    return Band(
        count=len(members),
        width=packed_width,
        slots=None if takes_all else torch.tensor(rows, device=placement.device),
        tokens=None if len(tokens) == first_tokens[-1] else torch.tensor(tokens, device=placement.device),
        packed_rows=_packed_rows(numbers, columns, heads, (width, packed_width)).to(placement.device),
        mask=_mask(last_visible, heads, packed_width, placement),
    )


def _packed_rows(numbers: torch.Tensor, columns: torch.Tensor, heads: Heads, widths: tuple[int, int]) -> torch.Tensor:
    """Rows [tokens x query heads] of the packed queries, for tokens in the rows ``numbers`` at ``columns``."""
    width, packed_width = widths
    key_value, sharing = torch.arange(heads.key_value)[:, None], torch.arange(heads.sharing)[None]
    first = numbers[:, None, None] * heads.key_value * packed_width + key_value * packed_width + sharing * width
    return (first + columns[:, None, None]).reshape(-1)


def _mask(last_visible: torch.Tensor, heads: Heads, packed_width: int, placement: Placement) -> torch.Tensor:
    """The mask [rows, 1, packed width, capacity] from the last key position [rows, width] that a query may see."""
    rows, width = last_visible.shape
    unused = last_visible.new_zeros(rows, packed_width - heads.sharing * width)
    last_visible = torch.cat([last_visible.repeat(1, heads.sharing), unused], 1)
    visible = torch.arange(placement.capacity) <= last_visible[:, None, :, None]
    mask = torch.zeros(visible.shape, dtype=placement.dtype).masked_fill_(~visible, float("-inf"))
    return mask.to(placement.device)
