"""Which row counts give the same bits on this machine: tried at start, not assumed.

Matrix products treat rows in groups; rows left over after the last group take another path with other last bits.
Libraries and processors differ in the size of the groups, so the worker multiplies a few rows by the model's own
matrices, and attends over slots of several lengths, and chooses the smallest group for which a row's result depends
neither on how many others there are nor on how many masked positions follow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from sidestep.evaluator.engine.fast_linear import FastLinear
from sidestep.evaluator.engine.ragged import heads_of

_Linear = Callable[[torch.Tensor], torch.Tensor]  # [rows, in features] to [rows, out features]

ROW_GROUPS = (4, 8, 16)
_ROWS = 96
_SLOTS = 9
_CAPACITY = 192


@dataclass(frozen=True)
class RowGroup:
    """Every product gets a multiple of ``size`` rows; ``exact`` when an answer's bits then do not depend on the batch.

    ``description`` says what was found, for people.
    """

    size: int
    exact: bool
    description: str


@torch.inference_mode()
def probe_row_group(model: PreTrainedModel, *, packed: bool) -> RowGroup:
    """The row group to use with packed or plain weights, and what was found."""
    dtype = str(model.dtype).removeprefix("torch.")
    linears = _linears_by_shape(model, packed)
    for group in ROW_GROUPS:
        if all(_is_invariant(linear, width, model, group) for linear, width in linears) and _is_attention_invariant(
            model, group
        ):
            return RowGroup(group, True, f"row groups of {group} give bit-identical results in {dtype}")
    return RowGroup(
        ROW_GROUPS[0],
        False,
        f"no row group tried gives bit-identical results in {dtype}: answers may depend on the batch",
    )


def _linears_by_shape(model: PreTrainedModel, packed: bool) -> list[tuple[_Linear, int]]:
    """One linear layer of every shape, the vocabulary matrix included, with its number of in features."""
    by_shape = {
        (module.in_features, module.out_features): module
        for module in model.modules()
        if isinstance(module, torch.nn.Linear)
    }
    return [
        (FastLinear(module, packed=packed) if type(module) is torch.nn.Linear else module, shape[0])
        for shape, module in by_shape.items()
    ]


def _random(*shape: int, model: PreTrainedModel) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)).to(model.device, model.dtype)


def _is_invariant(linear: _Linear, width: int, model: PreTrainedModel, group: int) -> bool:
    """Whether a row [1, width] comes out the same among any multiple of ``group`` rows."""
    rows = _random(_ROWS, width, model=model)
    whole = linear(rows)
    return all(torch.equal(linear(rows[:count].contiguous()), whole[:count]) for count in range(group, _ROWS, group))


def _is_attention_invariant(model: PreTrainedModel, group: int) -> bool:
    """Whether a row comes out the same with fewer slots, fewer query rows, and fewer masked positions behind it."""
    heads = heads_of(model, group)
    queries = _random(_SLOTS, heads.key_value, 4 * group, heads.size, model=model)
    keys = _random(_SLOTS, heads.key_value, _CAPACITY, heads.size, model=model)
    visible = 50
    whole = _attend(queries, keys, visible)
    return all(
        torch.equal(
            _attend(queries[:slots, :, :rows].contiguous(), keys[:slots, :, :capacity].contiguous(), visible),
            whole[:slots, :, :rows],
        )
        for slots in (1, 2, 5, _SLOTS)
        for rows in (group, 2 * group, 3 * group)
        for capacity in (64, 128, _CAPACITY)
    )


def _attend(queries: torch.Tensor, keys: torch.Tensor, visible: int) -> torch.Tensor:
    """Attention as ``SlotAttention`` computes it, to the first ``visible`` positions of keys that are values, too."""
    mask = torch.zeros(keys.shape[-2], dtype=keys.dtype, device=keys.device)
    mask[visible:] = float("-inf")
    scores = torch.matmul(queries, keys.transpose(-1, -2)).add_(mask)
    return torch.matmul(torch.softmax(scores, -1), keys)
