"""Forward passes over slots through transformers' own modules, for models that ``fused`` does not serve.

A step flattens the tokens of all live cases into one sequence, so linear layers see no padding; only attention sees
rows, through a function registered with transformers (``AttentionInterface``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AttentionInterface, PreTrainedModel

from sidestep.evaluator.engine.attention import SlotAttention
from sidestep.evaluator.engine.key_values import KeyValues
from sidestep.evaluator.engine.layout import Chunk, Heads, Placement, StepLayout, lay_out

ATTENTION_NAME = "sidestep_ragged"


@dataclass(frozen=True)
class _Step:
    attention: SlotAttention
    layout: StepLayout


_current: list[_Step] = []  # one step at a time: the attention function has no other way to learn of it


def _ragged_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """transformers' attention interface: query [1, query heads, tokens, head size], key and value [1, key/value heads,
    tokens, head size]; the output is [1, tokens, query heads, head size]."""
    step = _current[-1]
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    queries, keys, values = (tensor[0].transpose(0, 1) for tensor in (query * scale, key, value))
    layer = int(module.layer_idx)  # type: ignore[arg-type]
    attended = step.attention(layer, queries, keys, values, step.layout)
    return attended.view(1, queries.shape[0], query.shape[1], -1), None


AttentionInterface.register(ATTENTION_NAME, _ragged_attention)


class RaggedForward:
    """Forward passes of a decoder over slots. The model's attention implementation must be ``ATTENTION_NAME``."""

    max_chunk = 512  # prompt tokens of a case in one step

    def __init__(self, model: PreTrainedModel, slots: int, capacity: int, row_group: int) -> None:
        """``slots`` slots of at most ``capacity`` positions; every product gets a multiple of ``row_group`` rows."""
        self._model = model
        self._decoder = getattr(model, model.base_model_prefix)
        self._head = model.get_output_embeddings()
        self._heads = heads_of(model, row_group)
        self._no_mask = torch.zeros(1, 1, 1, 1, device=model.device)
        self.soft_prompt: torch.Tensor | None = None
        like = torch.empty(0, dtype=model.dtype, device=model.device)
        self.slots = KeyValues(model.config.num_hidden_layers, self._heads, slots, capacity, like)
        self._attention = SlotAttention(self._heads, self.slots)

    @torch.inference_mode()
    def __call__(self, chunks: Sequence[Chunk]) -> torch.Tensor:
        """Logits [wanted predictions of all chunks in order, vocabulary]; ``chunks[i]`` belongs to slot i."""
        self.slots.make_room(max(chunk.end for chunk in chunks), len(chunks))
        placement = Placement(self._model.device, self._model.dtype, self.slots.capacity)
        layout = lay_out(chunks, self._heads, placement)
        _current.append(_Step(self._attention, layout))
        try:
            hidden: torch.Tensor = self._decoder(
                inputs_embeds=embed(self._model.get_input_embeddings(), layout.ids, self.soft_prompt)[None],
                attention_mask=self._no_mask,
                position_ids=layout.positions[None],
                use_cache=False,
            ).last_hidden_state[0]
        finally:
            _current.pop()
        if not layout.logit_tokens:
            return torch.empty(0, 1)
        logits: torch.Tensor = self._head(hidden[layout.padded_logit_tokens(self._heads.row_group)])
        return logits[: len(layout.logit_tokens)]


def embed(embedding: torch.nn.Embedding, ids: torch.Tensor, soft_prompt: torch.Tensor | None) -> torch.Tensor:
    """Embeddings [tokens, hidden size] of ``ids`` [tokens], or with one more dimension in front of both.

    Ids past the vocabulary are the virtual tokens of ``soft_prompt`` [virtual tokens, hidden size].
    """
    rows: torch.Tensor
    if soft_prompt is None:
        rows = embedding(ids)
        return rows
    vocabulary = embedding.weight.shape[0]
    virtual = ids >= vocabulary
    rows = embedding(ids.clamp(max=vocabulary - 1)).clone()
    rows[virtual] = soft_prompt[ids[virtual] - vocabulary]
    return rows


def heads_of(model: PreTrainedModel, row_group: int) -> Heads:
    """The shape of a model's attention."""
    config = model.config
    return Heads(config.num_attention_heads, config.num_key_value_heads, head_size(model), row_group)


def head_size(model: PreTrainedModel) -> int:
    """Size of one attention head."""
    config = model.config
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def why_unsupported(model: PreTrainedModel) -> str | None:
    """Why forward passes over slots cannot serve this model; None where they can.

    They can where attention is plain causal attention over all positions.
    """
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
