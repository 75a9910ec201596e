"""From logits to tokens and probabilities: greedy with ties decided, sampling with generators, likelihood."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
import torch.nn.functional as functional

from sidestep.evaluator.cases.exchange import Decoding

_BLOCK_SIZES = (1024, 512, 256, 128)  # token ids; the first that divides the vocabulary, else it is padded
_ROWS_AT_A_TIME = 64  # rows of logits that are turned to float32 together


def choose_greedily(logits: torch.Tensor) -> list[int]:
    """The token with the largest logit of each row of ``logits`` [rows, vocabulary]; the lowest id among equals.

    Equal logits are frequent in half precision, and argmax promises none in particular: another batch layout could
    decide. It works in two stages, the largest of each block and then of the blocks: argmax over a whole
    half-precision row is ten times slower on a CPU. A row of NaN, which a broken checkpoint can make, gives the last
    id.
    """
    rows, vocabulary = logits.shape
    size = next((size for size in _BLOCK_SIZES if vocabulary % size == 0), _BLOCK_SIZES[0])
    if vocabulary % size:
        logits = functional.pad(logits, (0, -vocabulary % size), value=float("-inf"))
    blocks = logits.reshape(rows, -1, size)
    block = _first_largest(blocks.amax(-1))
    inside = blocks[torch.arange(rows, device=logits.device), block]
    chosen = (block * size + _first_largest(inside)).clamp(max=vocabulary - 1)  # padding follows the last id
    return [int(token) for token in chosen.tolist()]


def _first_largest(values: torch.Tensor) -> torch.Tensor:
    """Column [rows] of the largest value in each row of [rows, columns], the first among equals."""
    columns = torch.arange(values.shape[1], dtype=torch.int32, device=values.device)
    found = torch.where(values == values.amax(-1, keepdim=True), columns, values.shape[1]).amin(-1)
    return found.clamp(max=values.shape[1] - 1).long()  # a row of NaN equals nothing


def seed_for(case_id: str, seed: int, sample: int = 0) -> int:
    """The seed (56 bits) of one sample of one case, the same in every run, whatever else is in the batch."""
    name = f"{seed}\0{case_id}" if sample == 0 else f"{seed}\0{case_id}\0{sample}"
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big")


def sample_tokens(logits: torch.Tensor, decoding: Decoding, generators: Sequence[torch.Generator]) -> list[int]:
    """One token for each row of ``logits`` [rows, vocabulary], drawn with the row's own generator (on the CPU)."""
    probabilities = sampling_probabilities(logits.float().cpu(), decoding)
    return [
        int(torch.multinomial(row, 1, generator=generator))
        for row, generator in zip(probabilities, generators, strict=True)
    ]


def sampling_probabilities(logits: torch.Tensor, decoding: Decoding) -> torch.Tensor:
    """Probabilities [rows, vocabulary] after temperature, top-k and top-p, in the order in which transformers applies
    them (``transformers.generation.logits_process``)."""
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
    """Natural log-probability of one token for each row of ``logits`` [tokens, vocabulary], computed in float32."""
    wanted = torch.tensor(tokens, device=logits.device)
    found: list[float] = []
    for start in range(0, len(tokens), _ROWS_AT_A_TIME):
        rows = logits[start : start + _ROWS_AT_A_TIME].float()
        chosen = rows.gather(1, wanted[start : start + _ROWS_AT_A_TIME, None])[:, 0]
        found += (chosen - rows.logsumexp(-1)).tolist()
    return found
