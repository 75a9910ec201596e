"""Adapters of every kind with random weights that matter, as PEFT saves them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from peft import IA3Config, LoKrConfig, LoraConfig, PeftConfig, get_peft_model
from transformers import AutoModelForCausalLM

ADAPTERS: dict[str, Callable[[], PeftConfig]] = {
    "lora": lambda: LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM"),
    "dora": lambda: LoraConfig(
        r=4, lora_alpha=8, target_modules=["v_proj", "up_proj"], use_dora=True, task_type="CAUSAL_LM"
    ),
    "ia3": lambda: IA3Config(
        target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"], task_type="CAUSAL_LM"
    ),
    "lokr": lambda: LoKrConfig(r=4, alpha=8, target_modules=["q_proj", "o_proj"], task_type="CAUSAL_LM"),
}


def save_adapter(base_model: Path, folder: Path, kind: str, *, seed: int = 1) -> Path:
    """Save an adapter of one of the ADAPTERS into ``folder``."""
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base_model, dtype=torch.float32), ADAPTERS[kind]())
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * (0.3 if "magnitude" not in name else 0.05))
    model.save_pretrained(folder)
    return folder
