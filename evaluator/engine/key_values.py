"""Keys and values of the live cases: one slot a case, from position 0, with as many positions as are needed by now.

Attention reads every position of every slot, so the slots start short and grow in steps as answers get longer. That
does not change a bit of any answer: positions nobody has reached are masked, and what is masked adds zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from sidestep.evaluator.engine.layout import Heads

GROWTH = 64  # positions


@dataclass(frozen=True)
class Prefix:
    """Keys and values of a prompt's beginning that several cases share: (2 x layers, heads, positions, size)."""

    kept: torch.Tensor
    length: int


class KeyValues:
    """Per layer a tensor (slots x heads, capacity, size), dense for any number of first slots."""

    def __init__(self, layers: int, heads: Heads, slots: int, most: int, like: torch.Tensor) -> None:
        """Room for ``slots`` cases of at most ``most`` positions; dtype and device are those of ``like``."""
        self._heads = heads
        self._slots = slots
        self.most = -(-most // GROWTH) * GROWTH
        self._layers = layers
        # one tensor, so that a slot moves by one operation instead of two a layer
        self._memory = like.new_zeros(2 * layers, slots * heads.key_value * self.most, heads.size)
        self.capacity = 0
        self.clear()

    def clear(self) -> None:
        """Forget everything: a NaN that a broken checkpoint left behind would survive its mask."""
        self._look_at(min(GROWTH, self.most))
        self._all.zero_()

    def _look_at(self, capacity: int) -> None:
        self.capacity = capacity
        rows = self._slots * self._heads.key_value
        self._all = self._memory[:, : rows * capacity].view(-1, rows, capacity, self._heads.size)
        every = list(self._all.unbind())
        self.keys, self.values = every[: self._layers], every[self._layers :]

    def make_room(self, positions: int, live: int) -> None:
        """Room for this many positions a slot; what the first ``live`` slots hold is kept."""
        if positions <= self.capacity:
            return
        kept = live * self._heads.key_value
        before, old = self.capacity, [*self.keys, *self.values]
        self._look_at(min(self.most, -(-positions // GROWTH) * GROWTH))
        for tensor, source in zip((*self.keys, *self.values), old, strict=True):
            copy = source[:kept].clone()  # the memory is the same
            tensor[:kept, :before] = copy
            tensor[:kept, before:].zero_()
            tensor[kept:].zero_()

    def write(self, layer: int, rows: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Keys and values (rows, size) at the flattened ``rows`` of the layer."""
        size = self._heads.size
        self.keys[layer].view(-1, size).index_copy_(0, rows, keys)
        self.values[layer].view(-1, size).index_copy_(0, rows, values)

    def read(self, layer: int, count: int, slots: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values (count, heads, capacity, size) of the first ``count`` slots, or of ``slots``."""
        shape = (-1, self._heads.key_value, self.capacity, self._heads.size)
        keys, values = self.keys[layer].view(shape), self.values[layer].view(shape)
        return (keys[:count], values[:count]) if slots is None else (keys[slots], values[slots])

    def move(self, source: int, target: int) -> None:
        """Copy one slot over another, to keep the live ones dense."""
        self._all[:, self._rows_of(target)] = self._all[:, self._rows_of(source)]

    def cut_prefix(self, slot: int, length: int) -> Prefix:
        """A copy of a slot's first positions."""
        return Prefix(self._all[:, self._rows_of(slot), :length].clone(), length)

    def paste_prefix(self, slot: int, prefix: Prefix) -> None:
        """Begin a slot with what ``cut_prefix`` kept. There must be room."""
        self._all[:, self._rows_of(slot), : prefix.length] = prefix.kept

    def _rows_of(self, slot: int) -> slice:
        heads = self._heads.key_value
        return slice(slot * heads, (slot + 1) * heads)
