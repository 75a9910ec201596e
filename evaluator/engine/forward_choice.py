"""Which forward pass answers for a model: the fast one where it gives the model's own logits, or transformers' modules.

Decided once at start, by trying: what a model's configuration says is not enough.
"""

from __future__ import annotations

from dataclasses import dataclass

from transformers import PreTrainedModel

from sidestep.evaluator.engine import fused, ragged
from sidestep.evaluator.engine.decode import Forward
from sidestep.evaluator.engine.determinism import RowGroup, probe_row_group
from sidestep.evaluator.engine.plan import Plan


@dataclass(frozen=True)
class ForwardChoice:
    """How to compute forward passes over slots. ``fused`` is None where transformers' own modules do it."""

    row_group: RowGroup
    fused: fused.FusedModel | None
    notes: tuple[str, ...]  # what was found, for people

    def new_forward(self, model: PreTrainedModel, plan: Plan) -> Forward:
        """A forward pass with empty slots for this plan."""
        if self.fused:
            return fused.FusedForward(self.fused, plan.slots, plan.capacity)
        return ragged.RaggedForward(model, plan.slots, plan.capacity, self.row_group.size)


def prepare_forward(model: PreTrainedModel) -> ForwardChoice:
    """Find the forward pass for a model that ``ragged`` supports, and prepare the model for it.

    Where transformers' modules are to compute it, their attention is exchanged for ours.
    """
    reason = fused.why_unsupported(model)
    packed = reason is None and fused.should_pack(model)
    group = probe_row_group(model, packed=packed)
    if reason is None:
        candidate = fused.FusedModel(model, group.size, packed=packed)
        difference = fused.logit_difference(model, candidate)
        if difference <= fused.TOLERANCE[model.dtype]:
            weights = "packed" if packed else "plain"
            return ForwardChoice(group, candidate, (group.description, f"own forward pass with {weights} weights"))
        reason = f"its own logits differ from ours by {difference:.2g} of their spread"
    if packed:
        group = probe_row_group(model, packed=False)
    model.set_attn_implementation(ragged.ATTENTION_NAME)
    return ForwardChoice(group, None, (group.description, f"transformers' forward pass, because {reason}"))
