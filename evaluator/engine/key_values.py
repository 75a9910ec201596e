"""Keys and values of the live cases: one slot per case, from position 0, with as many positions as are needed by now.

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
    """Keys and values of a prompt's first ``length`` tokens, [2 x layers, key/value heads, length, head size]."""

    key_values: torch.Tensor
    length: int


class KeyValues:
    """Keys and values for every layer, [slots x key/value heads, capacity, head size], dense for any number of first
    slots. ``capacity`` is how many positions a slot has at the moment."""

    def __init__(self, layers: int, heads: Heads, slots: int, positions: int, like: torch.Tensor) -> None:
        """Room for ``slots`` cases of at most ``positions`` positions; dtype and device are those of ``like``."""
        self._heads = heads
        self._slots = slots
        self.max_positions = -(-positions // GROWTH) * GROWTH
        self._layers = layers
        # one tensor, so that a slot moves by one operation instead of two for every layer
        self._memory = like.new_zeros(2 * layers, slots * heads.key_value * self.max_positions, heads.size)
        self.capacity = 0
        self.clear()

    def clear(self) -> None:
        """Forget everything: a NaN that a broken checkpoint left behind would survive its mask."""
        self._set_capacity(min(GROWTH, self.max_positions))
        self._all.zero_()

    def _set_capacity(self, capacity: int) -> None:
        """Look at the memory as slots of this many positions; what it holds means nothing then."""
        self.capacity = capacity
        rows = self._slots * self._heads.key_value
        self._all = self._memory[:, : rows * capacity].view(-1, rows, capacity, self._heads.size)
        by_layer = list(self._all.unbind())
        self.keys, self.values = by_layer[: self._layers], by_layer[self._layers :]

    def make_room(self, positions: int, live: int) -> None:
        """Let every slot have at least ``positions`` positions; what the first ``live`` slots hold is kept."""
        if positions <= self.capacity:
            return
        rows = live * self._heads.key_value
        before, old = self.capacity, [*self.keys, *self.values]
        self._set_capacity(min(self.max_positions, -(-positions // GROWTH) * GROWTH))
        for tensor, source in zip((*self.keys, *self.values), old, strict=True):
            copy = source[:rows].clone()  # the memory is the same
            tensor[:rows, :before] = copy
            tensor[:rows, before:].zero_()
            tensor[rows:].zero_()

    def write(self, layer: int, rows: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Store keys and values [rows, head size] at ``rows`` of the layer, counted over slots, heads and positions."""
        size = self._heads.size
        self.keys[layer].view(-1, size).index_copy_(0, rows, keys)
        self.values[layer].view(-1, size).index_copy_(0, rows, values)

    def read(self, layer: int, count: int, slots: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values, both [count, key/value heads, capacity, head size], of the first ``count`` slots, or of
        ``slots`` [count]."""
        shape = (-1, self._heads.key_value, self.capacity, self._heads.size)
        keys, values = self.keys[layer].view(shape), self.values[layer].view(shape)
        return (keys[:count], values[:count]) if slots is None else (keys[slots], values[slots])

    def move(self, source: int, target: int) -> None:
        """Copy one slot over another, to keep the live ones dense."""
        self._all[:, self._rows_of(target)] = self._all[:, self._rows_of(source)]

    def copy_prefix(self, slot: int, length: int) -> Prefix:
        """A copy of a slot's first ``length`` positions."""
        return Prefix(self._all[:, self._rows_of(slot), :length].clone(), length)

    def paste_prefix(self, slot: int, prefix: Prefix) -> None:
        """Begin a slot with a copied prefix. There must be room (``make_room``)."""
        self._all[:, self._rows_of(slot), : prefix.length] = prefix.key_values

    def _rows_of(self, slot: int) -> slice:
        heads = self._heads.key_value
        return slice(slot * heads, (slot + 1) * heads)
