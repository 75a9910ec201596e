"""Loads the base model and its tokenizer as the device plan says: local or hub, safetensors only, no foreign code."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from sidestep.shared.chat_templates import template_named
from sidestep.shared.errors import BaseModelError, ConfigError
from sidestep.shared.protocol.layout import last_path_part
from sidestep.shared.protocol.manifest import BASE_MODEL_VARIABLE
from sidestep.shared.quantized_weights import keep_exact
from sidestep.trainer.config.fields import TrainingConfig
from sidestep.trainer.device_plan import DevicePlan


def load_base_model(config: TrainingConfig, plan: DevicePlan) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Base model and tokenizer. Raises BaseModelError when the model is not where the configuration says."""
    location = locate_base_model(config)
    tokenizer = load_tokenizer(config)
    options: dict[str, Any] = {"trust_remote_code": False}
    try:
        model = AutoModelForCausalLM.from_pretrained(
            location,
            dtype=getattr(torch, plan.dtype),
            attn_implementation=plan.attention,
            use_safetensors=True,
            quantization_config=_quantization(plan),
            device_map={"": plan.device} if plan.quantization != "none" else None,
            **options,
        )
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise BaseModelError(
            f"the base model {location} cannot be loaded: {reason}",
            hint="it must be a transformers model in safetensors",
        ) from error
    keep_exact(model.modules())
    return model, tokenizer


def load_tokenizer(config: TrainingConfig) -> PreTrainedTokenizerBase:
    """The base model's tokenizer, with a chat template: its own, else the one named. Raises BaseModelError."""
    location = locate_base_model(config)
    try:
        tokenizer = AutoTokenizer.from_pretrained(location, trust_remote_code=False)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise BaseModelError(f"the tokenizer of {location} cannot be loaded: {reason}") from error
    enable_padding(tokenizer)
    if tokenizer.chat_template is None:
        tokenizer.chat_template = template_named(config.prompt_template or "chatml")
    return tokenizer


def enable_padding(tokenizer: PreTrainedTokenizerBase) -> None:
    """Make the tokenizer able to pad: with its end token where it has no token of its own for that."""
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token


def locate_base_model(config: TrainingConfig) -> str:
    """A folder on this machine, or a hub id when nothing local was named. Raises BaseModelError with the remedy."""
    location = config.base_model_location
    folder = Path(location).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise BaseModelError(
                f"{folder} is not a model folder: it has no config.json", hint="name another with --base-model"
            )
        return str(folder.resolve())
    is_hub_id = location.count("/") <= 1 and not location.startswith((".", "/", "~")) and ":" not in location
    if config.base_model_path is None and is_hub_id and "/" in location and "\\" not in location:
        return location
    raise BaseModelError(
        f"the base model {location} is not a folder on this machine",
        hint=f"say where {last_path_part(location)} is with --base-model or {BASE_MODEL_VARIABLE}",
    )


def checkpoint_attention_blocks(model: PreTrainedModel, options: dict[str, Any] | None = None) -> int:
    """Recompute attention blocks, and nothing else, in the backward pass. Returns how many there are.

    ``options`` go to torch.utils.checkpoint. Raises ConfigError for a model without such blocks, and for
    use_reentrant, which cannot take the arguments an attention block is called with.
    """
    options = {"use_reentrant": False, **(options or {})}
    if options["use_reentrant"]:
        raise ConfigError(
            'gradient_checkpointing "selective" is not possible with use_reentrant',
            hint="set use_reentrant to false in gradient_checkpointing_kwargs",
        )
    blocks = [module.self_attn for module in model.modules() if hasattr(module, "self_attn")]
    if not blocks:
        raise ConfigError(
            f'gradient_checkpointing "selective": {type(model).__name__} has no attention blocks called self_attn',
            hint="set gradient_checkpointing to true",
        )
    for block in blocks:  # a partial, not a closure: copies of the model then recompute their own blocks
        block.forward = functools.partial(_forward_with_recomputing, block.forward, options)
    return len(blocks)


def _forward_with_recomputing(forward: Callable[..., Any], options: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
    """One attention block; without gradients there is nothing to recompute for (and generation needs its cache)."""
    if not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    if "past_key_values" in kwargs:  # a cache would be filled a second time
        kwargs["past_key_values"] = None
    return checkpoint(forward, *args, **options, **kwargs)


def _quantization(plan: DevicePlan) -> BitsAndBytesConfig | None:
    if plan.quantization == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    if plan.quantization == "int4":
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=getattr(torch, plan.dtype),
        )
    return None
