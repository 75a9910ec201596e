"""Attention over slots: each live case owns one row of keys and values that starts at position 0.

A step flattens the tokens of all live cases into one sequence, so linear layers see no padding; only attention sees
rows. Matrix products treat rows in groups, and what is left over takes another path with other last bits; so every
product here gets a multiple of ROWS rows, and a case's answer is the same in any company (docs/decisions).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as functional
from transformers import AttentionInterface, PreTrainedModel

NAME = "sidestep_ragged"
CHUNK = 32  # prompt tokens of a case in one step
WIDTHS = (4, 8, 16, 32)  # query positions of a case in one step: the next of these


@dataclass
class Slots:
    """Keys and values, per layer (slots, kv heads, capacity, head size), and the layout of the step in flight."""

    keys: list[torch.Tensor]
    values: list[torch.Tensor]
    row: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    position: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    flat: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    mask: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    rows: int = 0
    width: int = 0

    def move(self, source: int, target: int) -> None:
        """Copy one slot over another, to keep the live ones dense."""
        for tensor in (*self.keys, *self.values):
            tensor[target] = tensor[source]

    def clear(self) -> None:
        """Forget everything: a NaN left behind would survive its mask."""
        for tensor in (*self.keys, *self.values):
            tensor.zero_()


_current: list[Slots] = []  # one step at a time: the attention function has no other way to learn of it


def _ragged_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """transformers' attention interface; query (1, heads, tokens, size), key and value (1, kv heads, tokens, size)."""
    step = _current[-1]
    layer = int(module.layer_idx)  # type: ignore[arg-type]
    keys, values = step.keys[layer], step.values[layer]
    keys[step.row, :, step.position] = key[0].transpose(0, 1)
    values[step.row, :, step.position] = value[0].transpose(0, 1)
    heads, size, kv_heads = query.shape[1], query.shape[-1], keys.shape[1]
    group, rows, width = heads // kv_heads, step.rows, step.width
    padded = query.new_zeros(rows * width, heads, size)
    padded[step.flat] = query[0].transpose(0, 1)
    # The query heads of one key/value head become further query rows: keys and values are not repeated.
    padded = padded.view(rows, width, kv_heads, group, size).permute(0, 2, 3, 1, 4)
    packed = padded.reshape(rows, kv_heads, group * width, size)
    out = functional.scaled_dot_product_attention(
        packed, keys[:rows], values[:rows], attn_mask=step.mask, scale=scaling
    )
    out = out.view(rows, kv_heads, group, width, size).permute(0, 3, 1, 2, 4).reshape(rows * width, heads, size)
    return out[step.flat][None], None


AttentionInterface.register(NAME, _ragged_attention)


@dataclass(frozen=True)
class Work:
    """What one case contributes to a step: tokens at consecutive positions, and how many predictions it wants."""

    start: int
    tokens: Sequence[int]
    wanted: int


class RaggedForward:
    """Forward passes of a decoder over slots. ``group``: every product gets a multiple of this many rows."""

    def __init__(self, model: PreTrainedModel, slots: int, capacity: int, group: int) -> None:
        config = model.config
        self._model = model
        self._decoder = getattr(model, model.base_model_prefix)
        self._head = model.get_output_embeddings()
        self._group = group
        self._query_group = config.num_attention_heads // config.num_key_value_heads
        self._device = model.device
        self._columns = torch.arange(capacity, device=self._device)
        self._no_mask = torch.zeros(1, 1, 1, 1, device=self._device)
        shape = (slots, config.num_key_value_heads, capacity, head_size(model))
        layers = range(config.num_hidden_layers)
        self.slots = Slots(
            [torch.zeros(shape, dtype=model.dtype, device=self._device) for _ in layers],
            [torch.zeros(shape, dtype=model.dtype, device=self._device) for _ in layers],
        )

    @torch.inference_mode()
    def __call__(self, work: Sequence[Work]) -> torch.Tensor:
        """Logits (wanted predictions of all cases in order, vocabulary); row i of ``work`` is slot i."""
        ids = self._lay_out(work)
        _current.append(self.slots)
        try:
            hidden: torch.Tensor = self._decoder(
                input_ids=ids[None],
                attention_mask=self._no_mask,
                position_ids=self.slots.position[None],
                use_cache=False,
            ).last_hidden_state[0]
        finally:
            _current.pop()
        wanted = self._wanted(work)
        count = len(wanted)
        if not count:
            return torch.empty(0, 1)
        at = torch.tensor(_padded(wanted, self._group), device=self._device)
        logits: torch.Tensor = self._head(hidden[at])[:count]  # contiguous rows: a strided slice would be copied
        return logits

    def _lay_out(self, work: Sequence[Work]) -> torch.Tensor:
        width = next(each for each in WIDTHS if each >= max(len(case.tokens) for case in work))
        ids: list[int] = []
        row: list[int] = []
        position: list[int] = []
        flat: list[int] = []
        for number, case in enumerate(work):
            count = len(case.tokens)
            ids += case.tokens
            row += [number] * count
            position += range(case.start, case.start + count)
            flat += range(number * width, number * width + count)
        # Padding repeats the first token, which writes the same key and value once more.
        slots, tensors = (
            self.slots,
            [torch.tensor(_padded(each, self._group), device=self._device) for each in (ids, row, position, flat)],
        )
        slots.row, slots.position, slots.flat = tensors[1:]
        slots.rows, slots.width = len(work), width
        reach = torch.zeros(slots.rows * width, dtype=torch.long, device=self._device)
        reach[slots.flat] = slots.position
        visible = self._columns[None, None] <= reach.view(slots.rows, width)[:, :, None]
        slots.mask = visible[:, None].repeat(1, 1, self._query_group, 1)
        return tensors[0]

    @staticmethod
    def _wanted(work: Sequence[Work]) -> list[int]:
        """Indices, in the flattened step, of the tokens whose predictions are wanted."""
        wanted: list[int] = []
        at = 0
        for case in work:
            at += len(case.tokens)
            wanted += range(at - case.wanted, at)
        return wanted


def _padded(values: list[int], group: int) -> list[int]:
    return values + values[:1] * (-len(values) % group)


def head_size(model: PreTrainedModel) -> int:
    """Size of one attention head."""
    config = model.config
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def is_supported(model: PreTrainedModel) -> str | None:
    """None when this model's attention is plain causal attention over all positions; else why it is not."""
    config = model.config
    kinds = set(getattr(config, "layer_types", None) or ())
    if kinds - {"full_attention"}:
        return f"its layers use {', '.join(sorted(kinds - {'full_attention'}))}"
    if getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True) and not kinds:
        return "its attention has a sliding window"
    if getattr(config, "attn_logit_softcapping", None):
        return "its attention logits are capped"
    if not hasattr(config, "num_key_value_heads"):
        return "its attention has another layout"
    return None
