"""From the configuration to a PEFT adapter configuration, checked against the modules the model really has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from peft import IA3Config, LoKrConfig, LoraConfig, PeftConfig, PromptTuningConfig, PromptTuningInit

from sidestep.shared.errors import ConfigError
from sidestep.trainer.config import SoftPrompt, TrainingConfig

ALL_LINEAR = "all-linear"


def adapter_config(config: TrainingConfig, model: torch.nn.Module) -> PeftConfig | None:
    """PEFT's configuration for ``config.adapter_type``, None for full fine-tuning.

    Raises ConfigError for modules the model does not have.
    """
    if config.adapter_type == "full":
        return None
    if config.adapter_type == "prompt_tuning":
        return soft_prompt_config(config.soft_prompts[0], str(model.name_or_path))
    if config.target_modules == (ALL_LINEAR,):
        config = replace(config, target_modules=tuple(linear_module_names(model, without_output=True)))
    _check_modules("target_modules", config.target_modules, model)
    return _BUILDERS[config.adapter_type](config)


def soft_prompt_config(prompt: SoftPrompt, tokenizer: str) -> PeftConfig:
    """PEFT's prompt tuning for one soft prompt; ``tokenizer`` is where the base model is, for init_method text."""
    if prompt.init_method == "text":
        return PromptTuningConfig(
            task_type="CAUSAL_LM",
            num_virtual_tokens=prompt.tokens,
            prompt_tuning_init=PromptTuningInit.TEXT,
            prompt_tuning_init_text=prompt.init_text,
            tokenizer_name_or_path=tokenizer,
        )
    return PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=prompt.tokens)


def linear_module_names(model: torch.nn.Module, *, without_output: bool = False) -> list[str]:
    """Last name parts of all linear layers, sorted: what target_modules may name."""
    output = model.get_output_embeddings() if without_output else None  # type: ignore[operator]
    linear = (name for name, module in model.named_modules() if _is_linear(module) and module is not output)
    return sorted({name.rpartition(".")[2] for name in linear})


def _is_linear(module: torch.nn.Module) -> bool:
    return isinstance(module, torch.nn.Linear) or type(module).__name__ == "Conv1D" or "Linear" in type(module).__name__


def _check_modules(field: str, wanted: tuple[str, ...], model: torch.nn.Module) -> None:
    modules = dict(model.named_modules())
    hint = f"it has {', '.join(linear_module_names(model))}"
    for target in wanted:
        found = [module for name, module in modules.items() if name == target or name.endswith(f".{target}")]
        if not found:
            missing = [name for name in wanted if not any(f".{module}".endswith(f".{name}") for module in modules)]
            raise ConfigError(f"{field} names modules that the model does not have: {', '.join(missing)}", hint=hint)
        if not all(_is_linear(module) for module in found):
            raise ConfigError(f"{field} names {target}, which is not a linear layer", hint=hint)


def _lora(config: TrainingConfig) -> PeftConfig:
    return LoraConfig(**_common(config), **_ranked(config), lora_dropout=config.dropout, use_dora=False)


def _dora(config: TrainingConfig) -> PeftConfig:
    return LoraConfig(**_common(config), **_ranked(config), lora_dropout=config.dropout, use_dora=True)


def _lokr(config: TrainingConfig) -> PeftConfig:
    return LoKrConfig(**_common(config), r=config.rank, alpha=config.alpha, rank_dropout=config.dropout)


def _ia3(config: TrainingConfig) -> PeftConfig:
    return IA3Config(**_common(config), feedforward_modules=list(config.feedforward_modules or ()))


def _common(config: TrainingConfig) -> dict[str, Any]:
    return {"target_modules": list(config.target_modules), "task_type": "CAUSAL_LM"}


def _ranked(config: TrainingConfig) -> dict[str, Any]:
    return {"r": config.rank, "lora_alpha": config.alpha}


_BUILDERS: dict[str, Callable[[TrainingConfig], PeftConfig]] = {
    "lora": _lora,
    "dora": _dora,
    "lokr": _lokr,
    "ia3": _ia3,
}
