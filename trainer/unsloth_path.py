"""Training through Unsloth, where the manifest asks for it and the machine has both it and a GPU.

Unsloth replaces parts of transformers, PEFT and TRL when it is imported, so it has to come before them, and must not
come at all into a training that did not ask. ``import_unsloth_first`` is therefore called as soon as the
configuration is read; everything else is decided in the device plan.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import Any

from sidestep.shared.logs import get_logger
from sidestep.trainer.config.fields import TrainingConfig

log = get_logger("trainer")


def import_unsloth_first(config: TrainingConfig) -> bool:
    """Import Unsloth before transformers if this training will use it. Returns whether it was imported."""
    if not config.use_unsloth or config.device == "cpu" or config.adapter_type == "prompt_tuning":
        return False
    if importlib.util.find_spec("unsloth") is None:
        return False
    import torch

    if not torch.cuda.is_available():
        return False
    if "transformers" in sys.modules:
        log.warning("unsloth is imported after transformers and may be slower: import sidestep.trainer.host before it")
    importlib.import_module("unsloth")
    return True


def load_with_unsloth(config: TrainingConfig, plan: Any) -> tuple[Any, Any]:
    """Base model and tokenizer through Unsloth's FastLanguageModel."""
    import torch
    from unsloth import FastLanguageModel

    from sidestep.trainer.model_loader import locate_base_model, with_padding

    model, tokenizer = FastLanguageModel.from_pretrained(
        model_name=locate_base_model(config),
        max_seq_length=config.max_seq_length,
        dtype=getattr(torch, plan.dtype),
        load_in_4bit=plan.quantization == "int4",
        load_in_8bit=plan.quantization == "int8",
        full_finetuning=config.adapter_type == "full",
        trust_remote_code=False,
        use_exact_model_name=True,  # not a copy of the model that Unsloth has on the hub
        random_state=config.seed,
    )
    return model, with_padding(tokenizer)


def with_unsloth_adapter(config: TrainingConfig, model: Any, adapter: Any) -> tuple[Any, Any]:
    """The model with its LoRA or DoRA put on by Unsloth, and no adapter left for TRL to put on.

    IA³ and LoKr are not Unsloth's: PEFT puts them on the model that Unsloth has loaded.
    """
    if config.adapter_type not in ("lora", "dora"):
        return model, adapter
    from unsloth import FastLanguageModel

    from sidestep.trainer.arguments import checkpointing

    adapted = FastLanguageModel.get_peft_model(
        model,
        r=config.rank,
        target_modules=sorted(adapter.target_modules),
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        use_gradient_checkpointing=checkpointing(config) is True,
        random_state=config.seed,
        use_dora=config.adapter_type == "dora",
    )
    return adapted, None
