"""The forward pass of Llama's family over slots, in few operations: what a small model's step costs is mostly overhead.

transformers' modules take some forty operations per layer; this takes eighteen: projections stacked, activations and
residual sums computed by the linear layers, attention as two batched products over dense slots. It is used only after
its logits were compared with the model's own at start (``logit_difference``); any other model goes through ``ragged``.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as functional
from transformers import PreTrainedModel

from sidestep.evaluator.engine.attention import SlotAttention
from sidestep.evaluator.engine.fast_linear import FastLinear, can_pack
from sidestep.evaluator.engine.key_values import KeyValues
from sidestep.evaluator.engine.layout import Chunk, Heads, Placement, StepLayout, lay_out
from sidestep.evaluator.engine.ragged import embed, heads_of

FAMILY = ("llama", "mistral", "qwen2", "qwen3")
_STATIC_ROPE = ("default", "linear", "llama3", "yarn")
# Largest difference from the model's own logits, in their standard deviations, that rounding can explain.
TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.3, torch.float16: 0.1}
PACKED_SHARE = 0.25  # of the host's memory: packed copies of a base model may take this much


class _Norm:
    """RMSNorm (arXiv 1910.07467) of rows [rows, hidden size], in float32 with one rounding and in few operations: norms
    took 7 % of a step of a small model."""

    def __init__(self, module: torch.nn.Module) -> None:
        """``module`` is one of transformers' own, with a weight and ``variance_epsilon``."""
        self.weight = cast(torch.Tensor, module.weight)
        self.epsilon = float(cast(float, module.variance_epsilon))
        self._epsilon = torch.full((1, 1), self.epsilon, device=self.weight.device)

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        if rows.device.type != "cpu":
            return functional.rms_norm(rows, rows.shape[-1:], self.weight, self.epsilon)
        exact = rows.to(torch.float32, copy=True)
        length = torch.linalg.vector_norm(exact, dim=-1, keepdim=True)
        inverse = torch.addcmul(self._epsilon, length, length, value=1 / rows.shape[-1]).rsqrt_()
        return exact.mul_(inverse).mul_(self.weight).to(rows.dtype)


@dataclass(frozen=True)
class _Layer:
    attention_norm: _Norm
    mlp_norm: _Norm
    query_norm: torch.Tensor | None
    key_norm: torch.Tensor | None
    query_key_value: FastLinear
    output: FastLinear
    gate: FastLinear
    up: FastLinear
    down: FastLinear


class FusedModel:
    """A base model's weights as this forward pass wants them; kept from one plan to the next."""

    def __init__(self, model: PreTrainedModel, row_group: int, *, packed: bool) -> None:
        """Takes the base model's weights at once; with ``packed`` it copies them into the form of ``FastLinear``."""
        self.model = model
        self.heads = heads_of(model, row_group)
        self.packed = packed
        self.layers: list[_Layer] = []
        self.load_weights()

    def load_weights(self) -> None:
        """Take the base model's weights from where they are now."""
        self.layers = [self._layer(layer) for layer in self.model.model.layers]
        self.norm = _Norm(self.model.model.norm)
        self.head = FastLinear(self.model.get_output_embeddings(), packed=self.packed)

    def release_weights(self) -> None:
        """Hold no weights, so that the base model can leave the device; ``load_weights`` follows its return."""
        self.layers = []
        del self.norm, self.head

    @property
    def embedding(self) -> torch.nn.Embedding:
        """The base model's token embedding, [vocabulary, hidden size]."""
        return cast(torch.nn.Embedding, self.model.get_input_embeddings())

    def _layer(self, layer: Any) -> _Layer:
        attention, mlp = layer.self_attn, layer.mlp
        return _Layer(
            attention_norm=_Norm(layer.input_layernorm),
            mlp_norm=_Norm(layer.post_attention_layernorm),
            query_norm=attention.q_norm.weight if hasattr(attention, "q_norm") else None,
            key_norm=attention.k_norm.weight if hasattr(attention, "k_norm") else None,
            query_key_value=FastLinear(attention.q_proj, attention.k_proj, attention.v_proj, packed=self.packed),
            output=FastLinear(attention.o_proj, packed=self.packed),
            gate=FastLinear(mlp.gate_proj, packed=self.packed),
            up=FastLinear(mlp.up_proj, packed=self.packed),
            down=FastLinear(mlp.down_proj, packed=self.packed),
        )

    def refresh(self, changed: frozenset[int]) -> None:
        """Take the weights as they are after a checkpoint was attached or detached.

        ``changed`` are the ids of the parameters that differ from the base model's.
        """
        for layer in self.layers:
            for linear in (layer.query_key_value, layer.output, layer.gate, layer.up, layer.down):
                linear.refresh(changed)
        self.head.refresh(changed)


class FusedForward:
    """Forward passes of a ``FusedModel`` over slots; see ``decode.Forward``."""

    max_chunk = 512  # prompt tokens of a case in one step

    def __init__(self, fused: FusedModel, slots: int, capacity: int) -> None:
        """``slots`` slots of at most ``capacity`` positions."""
        heads, model = fused.heads, fused.model
        self._fused = fused
        self._heads = heads
        self.slots = KeyValues(len(fused.layers), heads, slots, capacity, fused.embedding.weight)
        self._cosine, self._sine = _rotation_tables(model, heads, self.slots.max_positions)
        self._attend = SlotAttention(heads, self.slots)
        self.soft_prompt: torch.Tensor | None = None

    @torch.inference_mode()
    def __call__(self, chunks: Sequence[Chunk]) -> torch.Tensor:
        """Logits [wanted predictions of all chunks in order, vocabulary]; ``chunks[i]`` belongs to slot i."""
        fused, weight = self._fused, self._fused.embedding.weight
        self.slots.make_room(max(chunk.end for chunk in chunks), len(chunks))
        layout = lay_out(chunks, self._heads, Placement(weight.device, weight.dtype, self.slots.capacity))
        hidden = self._decode(embed(fused.embedding, layout.ids, self.soft_prompt), layout)
        if not layout.logit_tokens:
            return torch.empty(0, 1)
        chosen = hidden[layout.padded_logit_tokens(self._heads.row_group)]
        return fused.head(fused.norm(chosen))[: len(layout.logit_tokens)]

    def _decode(self, hidden: torch.Tensor, layout: StepLayout) -> torch.Tensor:
        """All layers, from embeddings to the last layer's output, both [tokens, hidden size]."""
        cosine, sine = self._cosine[layout.positions], self._sine[layout.positions]
        for number, layer in enumerate(self._fused.layers):
            normed = layer.attention_norm(hidden)
            attended = self._attention(number, layer.query_key_value(normed), (cosine, sine), layout)
            hidden = layer.output.plus(attended, hidden)
            normed = layer.mlp_norm(hidden)
            hidden = layer.down.plus(layer.up.times(normed, layer.gate.silu(normed)), hidden)
        return hidden

    def _attention(
        self, number: int, projected: torch.Tensor, rotation: tuple[torch.Tensor, torch.Tensor], layout: StepLayout
    ) -> torch.Tensor:
        """Attention's output [tokens, query heads x head size] of layer ``number``.

        ``projected`` holds stacked queries, keys and values [tokens, all heads x head size], ``rotation`` the cosine
        and sine of the tokens' positions (see ``_rotation_tables``).
        """
        heads, layer = self._heads, self._fused.layers[number]
        tokens, rotated = projected.shape[0], heads.query + heads.key_value
        joint = projected[:, : rotated * heads.size].view(tokens, rotated, heads.size)
        if layer.query_norm is not None and layer.key_norm is not None:
            epsilon = layer.attention_norm.epsilon
            joint = torch.cat(
                [
                    functional.rms_norm(joint[:, : heads.query], (heads.size,), layer.query_norm, epsilon),
                    functional.rms_norm(joint[:, heads.query :], (heads.size,), layer.key_norm, epsilon),
                ],
                1,
            )
        joint = _rotate(joint, *rotation)
        return self._attend(
            number,
            joint[:, : heads.query],
            joint[:, heads.query :],
            projected[:, rotated * heads.size :].view(tokens, heads.key_value, heads.size),
            layout,
        )


def _rotate(heads: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
    """Rotary positions (arXiv 2104.09864) of heads [tokens, heads, head size]; ``sine`` has half the head size."""
    half = heads.shape[-1] // 2
    rotated = heads * cosine
    rotated[..., :half].addcmul_(heads[..., half:], sine, value=-1)
    rotated[..., half:].addcmul_(heads[..., :half], sine)
    return rotated


def _rotation_tables(model: PreTrainedModel, heads: Heads, positions: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosine [positions, heads, head size] and sine [positions, heads, half of it], from the model's own module.

    The heads are the query heads, which carry attention's scale in these tables, and the key heads.
    """
    probe = torch.zeros(1, dtype=torch.float32, device=model.device)
    cosine, sine = model.model.rotary_emb(probe, torch.arange(positions, device=model.device)[None])
    scale = torch.ones(heads.query + heads.key_value, 1, device=model.device)
    scale[: heads.query] = heads.size**-0.5
    half = heads.size // 2
    return (
        (cosine[0][:, None] * scale).to(model.dtype).contiguous(),
        (sine[0][:, None, :half] * scale).to(model.dtype).contiguous(),
    )


def why_unsupported(model: PreTrainedModel) -> str | None:
    """Why this forward pass cannot serve the model, as far as its configuration tells; None where it can."""
    config = model.config
    kind = str(config.model_type)
    if kind not in FAMILY:
        return f"{kind} is not among {', '.join(FAMILY)}"
    if getattr(config, "hidden_act", "silu") != "silu":
        return f"its activation is {config.hidden_act}"
    rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    if rope.get("rope_type", "default") not in _STATIC_ROPE or rope.get("partial_rotary_factor", 1.0) != 1.0:
        return "its rotary positions depend on the length"
    plain = all(type(module) is torch.nn.Linear for name, module in model.named_modules() if name.endswith("_proj"))
    return None if plain else "its linear layers are not plain ones"


@torch.inference_mode()
def logit_difference(model: PreTrainedModel, fused: FusedModel) -> float:
    """Largest difference between this forward pass's logits and the model's own, in standard deviations of the latter.

    Tried on a dozen random tokens, read in two pieces, the last four of which are compared.
    """
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(model.config.vocab_size, (13,), generator=generator)
    own = model(ids[None].to(model.device)).logits[0, -4:].float()
    forward = FusedForward(fused, 1, 16)
    forward([Chunk(0, ids[:6].tolist(), 0)])
    ours = forward([Chunk(6, ids[6:].tolist(), 4)]).float()
    return float((own - ours).abs().max() / own.std())


def should_pack(model: PreTrainedModel) -> bool:
    """Whether to pack the weights: where the operators exist, and two packed copies fit into the host's memory."""
    if not can_pack(model.device, model.dtype):
        return False
    needed = 2 * sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    return bool(needed <= PACKED_SHARE * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
