"""Prefixes that several prompts share: read once, copied into the slot of each case. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sidestep.evaluator.engine.plan import Prompt

SHORTEST_PREFIX = 16  # tokens; copying a shorter one is not worth its bookkeeping


@dataclass(frozen=True)
class SharedPrefix:
    """Token ids that every prompt in ``prompts`` begins with (numbers into the sequence that the prompts came from)."""

    tokens: tuple[int, ...]
    prompts: tuple[int, ...]


def find_shared_prefixes(prompts: Sequence[Prompt]) -> list[SharedPrefix]:
    """Groups of at least two prompts that begin alike; one prompt belongs to at most one group.

    A prompt's last token is never part of it, because its prediction is the answer's first token.
    """
    groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for number, prompt in enumerate(prompts):
        if len(prompt.tokens) > SHORTEST_PREFIX:
            groups[prompt.tokens[:SHORTEST_PREFIX]].append(number)
    found = []
    for members in groups.values():
        if len(members) > 1:
            length = _common_length([prompts[number].tokens for number in members])
            found.append(SharedPrefix(prompts[members[0]].tokens[:length], tuple(members)))
    return found


def _common_length(sequences: Sequence[tuple[int, ...]]) -> int:
    """Tokens that all sequences have in common at their beginning, short of the shortest one's last."""
    first, last = min(sequences), max(sequences)  # whatever these two share, all that sort between them share
    longest = min(len(tokens) for tokens in sequences) - 1
    return next((at for at in range(min(longest, len(last))) if first[at] != last[at]), longest)
