"""Merging of the most frequent adapter, plain LoRA, in one operation per layer: a third of what PEFT's way takes.

PEFT wraps every target, computes the update, adds it to a copy and unwraps again; here the product is added to the base
weight into a new tensor. Anything with more to it (DoRA, patterns, selected layers) goes through PEFT.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from peft import LoraConfig, PeftConfig

from sidestep.shared.errors import BaseModelMismatch

TargetModule = tuple[str, torch.nn.Linear]  # its name in the base model, and itself
_PREFIX = "base_model.model."


def is_plain_lora(config: PeftConfig) -> bool:
    """Whether this module can merge the adapter."""
    if not isinstance(config, LoraConfig) or config.use_dora or config.fan_in_fan_out:
        return False
    special = (
        config.rank_pattern, config.alpha_pattern, config.layers_to_transform, config.layers_pattern,
        config.exclude_modules,
    )  # fmt: skip
    return not any(special)


def merge_weights(
    config: LoraConfig, state: dict[str, torch.Tensor], targets: Sequence[TargetModule]
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Every target's weight W [out, in] with what it becomes, W + scaling * B A (LoRA, arXiv 2106.09685), a new tensor.

    ``state`` holds A [rank, in] and B [out, rank] under PEFT's names. The scaling is alpha / rank, or with
    ``use_rslora`` alpha / sqrt(rank) (arXiv 2312.03732). Raises BaseModelMismatch for tensors that are missing, do not
    belong here, or have another shape.
    """
    left, merged = dict(state), []
    scaling = config.lora_alpha / (math.sqrt(config.r) if config.use_rslora else config.r)
    for name, module in targets:
        down, up = (_pop(left, f"{_PREFIX}{name}.lora_{part}.weight") for part in "AB")
        weight = module.weight
        if tuple(down.shape) != (config.r, weight.shape[1]) or tuple(up.shape) != (weight.shape[0], config.r):
            raise BaseModelMismatch(
                f"the adapter does not fit the base model: {name} is {tuple(weight.shape)}, its adapter "
                f"{tuple(up.shape)} by {tuple(down.shape)} at rank {config.r}"
            )
        down, up = (part.to(weight.device, weight.dtype) for part in (down, up))
        merged.append((weight, torch.addmm(weight.data, up, down, alpha=scaling)))
    if left:
        raise BaseModelMismatch(f"the tensor {sorted(left)[0]} does not belong to this model")
    return merged


def _pop(state: dict[str, torch.Tensor], name: str) -> torch.Tensor:
    if name not in state:
        raise BaseModelMismatch(f"the tensor {name} is missing")
    return state.pop(name)
