"""From the configuration to a PEFT adapter configuration, checked against the modules the model really has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from peft import IA3Config, LoKrConfig, LoraConfig, PeftConfig

from shared.errors import ConfigError
from trainer.config import TrainingConfig


def adapter_config(config: TrainingConfig, model: torch.nn.Module) -> PeftConfig:
    """PEFT's configuration for ``config.adapter_type``. Raises ConfigError for modules the model does not have."""
    _check_modules("target_modules", config.target_modules, model)
    if config.feedforward_modules:
        _check_modules("feedforward_modules", config.feedforward_modules, model)
    return _BUILDERS[config.adapter_type](config)


def linear_module_names(model: torch.nn.Module) -> list[str]:
    """Last name parts of all linear layers, sorted: what target_modules may name."""
    return sorted({name.rpartition(".")[2] for name, module in model.named_modules() if _is_linear(module)})


def _is_linear(module: torch.nn.Module) -> bool:
    return isinstance(module, torch.nn.Linear) or "Linear" in type(module).__name__


def _check_modules(field: str, wanted: tuple[str, ...], model: torch.nn.Module) -> None:
    names = [name for name, _ in model.named_modules()]
    missing = [each for each in wanted if not any(name == each or name.endswith(f".{each}") for name in names)]
    if missing:
        raise ConfigError(
            f"{field} names modules that the model does not have: {', '.join(missing)}",
            hint=f"it has {', '.join(linear_module_names(model))}",
        )


def _lora(config: TrainingConfig) -> PeftConfig:
    return LoraConfig(**_common(config), **_ranked(config), lora_dropout=config.dropout, use_dora=False)


def _dora(config: TrainingConfig) -> PeftConfig:
    return LoraConfig(**_common(config), **_ranked(config), lora_dropout=config.dropout, use_dora=True)


def _lokr(config: TrainingConfig) -> PeftConfig:
    return LoKrConfig(**_common(config), r=config.rank, alpha=config.alpha, rank_dropout=config.dropout)


def _ia3(config: TrainingConfig) -> PeftConfig:
    if config.dropout:
        raise ConfigError("dropout has no meaning for ia3", hint="remove it, or choose another adapter_type")
    feedforward = [each for each in config.target_modules if each in (config.feedforward_modules or ())]
    return IA3Config(**_common(config), feedforward_modules=feedforward)


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
