"""Merging of the most frequent adapter, plain LoRA, in one operation a layer: a third of what PEFT's way takes.

PEFT wraps every target, computes the update, adds it to a copy and unwraps again; here the product is added to the base
weight into a new tensor. Anything with more to it (DoRA, patterns, selected layers) goes through PEFT.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from peft import LoraConfig, PeftConfig

from sidestep.shared.errors import CheckpointRejected

Target = tuple[str, torch.nn.Linear]
_PREFIX = "base_model.model."


def is_plain(config: PeftConfig) -> bool:
    """Whether this module can merge the adapter."""
    if not isinstance(config, LoraConfig) or config.use_dora or config.fan_in_fan_out:
        return False
    special = (
        config.rank_pattern, config.alpha_pattern, config.layers_to_transform, config.layers_pattern,
        config.exclude_modules,
    )  # fmt: skip
    return not any(special)


def merged(
    config: LoraConfig, state: dict[str, torch.Tensor], targets: Sequence[Target]
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Each target's weight and what it becomes. Raises CheckpointRejected for missing, odd or misshapen tensors."""
    left, found = dict(state), []
    scaling = config.lora_alpha / (math.sqrt(config.r) if config.use_rslora else config.r)
    for name, module in targets:
        down, up = (_taken(left, f"{_PREFIX}{name}.lora_{part}.weight") for part in "AB")
        weight = module.weight
        if tuple(down.shape) != (config.r, weight.shape[1]) or tuple(up.shape) != (weight.shape[0], config.r):
            raise CheckpointRejected(
                f"the adapter does not fit the base model: {name} is {tuple(weight.shape)}, its adapter "
                f"{tuple(up.shape)} by {tuple(down.shape)} at rank {config.r}"
            )
        down, up = (part.to(weight.device, weight.dtype) for part in (down, up))
        found.append((weight, torch.addmm(weight.data, up, down, alpha=scaling)))
    if left:
        raise CheckpointRejected(f"the tensor {sorted(left)[0]} does not belong to this model")
    return found


def _taken(state: dict[str, torch.Tensor], name: str) -> torch.Tensor:
    if name not in state:
        raise CheckpointRejected(f"the tensor {name} is missing")
    return state.pop(name)
