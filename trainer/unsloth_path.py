"""Training through Unsloth, where the manifest asks for it and the machine has both it and a GPU.

Unsloth replaces parts of transformers, PEFT and TRL when it is imported, so it has to come before them, and must not
come at all into a training that did not ask. ``import_unsloth_first`` is therefore called as soon as the
configuration is read; everything else is decided in the device plan.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import TYPE_CHECKING

from sidestep.shared.logs import get_logger
from sidestep.trainer.config.fields import TrainingConfig
from sidestep.trainer.device_plan import DevicePlan

if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

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


def load_with_unsloth(config: TrainingConfig, plan: DevicePlan) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Base model and tokenizer through Unsloth's FastLanguageModel."""
    import torch
    from unsloth import FastLanguageModel

    from sidestep.trainer.model_loader import enable_padding, locate_base_model

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
    enable_padding(tokenizer)
    return model, tokenizer


def add_unsloth_adapter(
    config: TrainingConfig, model: PreTrainedModel, adapter: PeftConfig | None
) -> tuple[PreTrainedModel | PeftModel, PeftConfig | None]:
    """Have Unsloth put LoRA or DoRA on the model: the model with it, and what is left for TRL to put on.

    IA³ and LoKr are not Unsloth's: PEFT puts them on the model that Unsloth has loaded.
    """
    if adapter is None or config.adapter_type not in ("lora", "dora"):
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
