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

from sidestep.evaluator.engine.products import Product
from sidestep.evaluator.engine.ragged import heads_of

_Rowwise = Callable[[torch.Tensor], torch.Tensor]

GROUPS = (4, 8, 16)
_ROWS = 96
_SLOTS = 9
_CAPACITY = 192


@dataclass(frozen=True)
class RowGroup:
    """Every product gets a multiple of ``size`` rows; ``exact`` when answers then do not depend on their company."""

    size: int
    exact: bool
    words: str


@torch.inference_mode()
def probe_row_group(model: PreTrainedModel, *, packs: bool) -> RowGroup:
    """The row group to use with packed or plain weights, and what was found."""
    dtype = str(model.dtype).removeprefix("torch.")
    products = _products(model, packs)
    for group in GROUPS:
        if all(_is_invariant(each, width, model, group) for each, width in products) and _attends_alike(model, group):
            return RowGroup(group, True, f"row groups of {group} give bit-identical results in {dtype}")
    return RowGroup(
        GROUPS[0], False, f"no row group tried gives bit-identical results in {dtype}: answers may depend on the batch"
    )


def _products(model: PreTrainedModel, packs: bool) -> list[tuple[_Rowwise, int]]:
    """One product of each shape among the linear layers, the vocabulary matrix included, with its input width."""
    by_shape = {
        (module.in_features, module.out_features): module
        for module in model.modules()
        if isinstance(module, torch.nn.Linear)
    }
    return [
        (Product(module, packs=packs) if type(module) is torch.nn.Linear else module, shape[0])
        for shape, module in by_shape.items()
    ]


def _random(*shape: int, model: PreTrainedModel) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)).to(model.device, model.dtype)


def _is_invariant(product: _Rowwise, width: int, model: PreTrainedModel, group: int) -> bool:
    rows = _random(_ROWS, width, model=model)
    whole = product(rows)
    return all(torch.equal(product(rows[:count].contiguous()), whole[:count]) for count in range(group, _ROWS, group))


def _attends_alike(model: PreTrainedModel, group: int) -> bool:
    """Attention of a row: the same with fewer slots, fewer query rows, and fewer masked positions behind it."""
    heads = heads_of(model, group)
    queries = _random(_SLOTS, heads.key_value, 4 * group, heads.size, model=model)
    keys = _random(_SLOTS, heads.key_value, _CAPACITY, heads.size, model=model)
    seen = 50
    whole = _attend(queries, keys, seen)
    return all(
        torch.equal(
            _attend(queries[:slots, :, :rows].contiguous(), keys[:slots, :, :capacity].contiguous(), seen),
            whole[:slots, :, :rows],
        )
        for slots in (1, 2, 5, _SLOTS)
        for rows in (group, 2 * group, 3 * group)
        for capacity in (64, 128, _CAPACITY)
    )


def _attend(queries: torch.Tensor, keys: torch.Tensor, seen: int) -> torch.Tensor:
    mask = torch.zeros(keys.shape[-2], dtype=keys.dtype, device=keys.device)
    mask[seen:] = float("-inf")
    scores = torch.matmul(queries, keys.transpose(-1, -2)).add_(mask)
    return torch.matmul(torch.softmax(scores, -1), keys)
