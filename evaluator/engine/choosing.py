"""From logits to tokens and probabilities: greedy with ties decided, sampling with a generator a case, likelihood."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
import torch.nn.functional as functional

from sidestep.evaluator.cases.exchange import Decoding

_BLOCKS = (1024, 512, 256, 128)  # words; the first that divides the vocabulary, else it is padded
_ROWS = 64  # rows of logits turned to float32 at a time


def lowest_of_the_largest(logits: torch.Tensor) -> list[int]:
    """For each row of logits (rows, vocabulary): the largest; the lowest id among equals, so that no layout decides.

    In two stages, the largest of each block and then the block: argmax over a whole half-precision row is ten times
    slower on a CPU.
    """
    rows, words = logits.shape
    size = next((size for size in _BLOCKS if words % size == 0), _BLOCKS[0])
    if words % size:
        logits = functional.pad(logits, (0, -words % size), value=float("-inf"))
    blocks = logits.reshape(rows, -1, size)
    block = _first_largest(blocks.amax(-1))
    inside = blocks[torch.arange(rows, device=logits.device), block]
    return [int(token) for token in (block * size + _first_largest(inside)).tolist()]


def _first_largest(values: torch.Tensor) -> torch.Tensor:
    """Column of each row's largest value, the first among equals: argmax promises none in particular."""
    columns = torch.arange(values.shape[1], dtype=torch.int32, device=values.device)
    found = torch.where(values == values.amax(-1, keepdim=True), columns, values.shape[1]).amin(-1)
    return found.clamp(max=values.shape[1] - 1).long()  # a row of NaN equals nothing


def seed_of(case_id: str, seed: int, sample: int = 0) -> int:
    """A seed of its own for each case and sample, the same in every run."""
    name = f"{seed}\0{case_id}" if sample == 0 else f"{seed}\0{case_id}\0{sample}"
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big")


def drawn(logits: torch.Tensor, decoding: Decoding, generators: Sequence[torch.Generator]) -> list[int]:
    """One token a row, each from its own generator."""
    probabilities = sampling_probabilities(logits.float().cpu(), decoding)
    return [
        int(torch.multinomial(row, 1, generator=generator))
        for row, generator in zip(probabilities, generators, strict=True)
    ]


def sampling_probabilities(logits: torch.Tensor, decoding: Decoding) -> torch.Tensor:
    """Probabilities (rows, vocabulary) after temperature, top-k and top-p, as transformers applies them."""
    logits = logits / decoding.temperature
    if decoding.top_k:
        smallest = logits.topk(min(decoding.top_k, logits.shape[-1]), dim=-1).values[..., -1:]
        logits = logits.masked_fill(logits < smallest, float("-inf"))
    if decoding.top_p < 1.0:
        ordered, order = logits.sort(dim=-1, descending=False)
        outside = ordered.softmax(-1).cumsum(-1) <= 1 - decoding.top_p
        outside[..., -1] = False
        logits = logits.masked_fill(outside.scatter(-1, order, outside), float("-inf"))
    return logits.softmax(-1)


def log_probabilities(logits: torch.Tensor, tokens: Sequence[int]) -> list[float]:
    """Natural log-probability of one token a row, in float32."""
    wanted = torch.tensor(tokens, device=logits.device)
    found: list[float] = []
    for start in range(0, len(tokens), _ROWS):
        rows = logits[start : start + _ROWS].float()
        chosen = rows.gather(1, wanted[start : start + _ROWS, None])[:, 0]
        found += (chosen - rows.logsumexp(-1)).tolist()
    return found
