"""Slots, capacity and order, from the suite and the settings alone. Pure.

A restart that answers what is left of a suite plans for all of it, so that the shapes, and with them the last bits of
every answer, are the same as in one go.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

CAPACITY_STEP = 64  # key positions per slot are a multiple of this
MAX_SLOTS = 64


@dataclass(frozen=True)
class Prompt:
    """A request as token ids. ``limit`` is the longest answer, in tokens; 0 where the prompt alone is too long.

    ``reference`` is the answer whose likelihood is wanted; ``sample`` numbers the answers to one request;
    ``virtual`` is how many of the tokens are a soft prompt's.
    """

    case_id: str
    tokens: tuple[int, ...]
    limit: int
    reference: tuple[int, ...] = ()
    sample: int = 0
    virtual: int = 0

    @property
    def length(self) -> int:
        """Key positions, in tokens, that this prompt can come to need."""
        return len(self.tokens) + max(self.limit, len(self.reference))


@dataclass(frozen=True)
class Plan:
    """``slots`` cases are answered at once, with room for ``capacity`` key positions in every slot."""

    slots: int
    capacity: int


def make_plan(prompts: Sequence[Prompt], *, bytes_per_position: int, memory_bytes: int) -> Plan:
    """The plan for a suite within ``memory_bytes`` for keys and values; at least one slot.

    ``bytes_per_position`` is what one position of one slot takes over all layers.
    """
    longest = max((prompt.length for prompt in prompts), default=1)
    capacity = -(-(longest + 1) // CAPACITY_STEP) * CAPACITY_STEP
    affordable = memory_bytes // max(1, bytes_per_position * capacity)
    return Plan(slots=max(1, min(MAX_SLOTS, len(prompts), affordable)), capacity=capacity)


def longest_first(prompts: Sequence[Prompt]) -> list[Prompt]:
    """The prompts by falling length, so that what takes longest starts first and the tail is short; ties by id."""
    return sorted(prompts, key=lambda prompt: (-prompt.length, prompt.case_id, prompt.sample))
