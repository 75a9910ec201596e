"""The base model's way from disk to the device: which device and dtype, loading, and the name of its weights."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from sidestep.evaluator.engine import quantization
from sidestep.evaluator.settings import EngineSettings
from sidestep.shared.chat_templates import template_named
from sidestep.shared.cpu_dtype import cpu_dtype
from sidestep.shared.errors import BaseModelError, ConfigError, DeviceOutOfMemory
from sidestep.shared.protocol.checkpoint import describe_file, files_that_matter
from sidestep.shared.protocol.manifest import BASE_MODEL_VARIABLE
from sidestep.shared.quantized_weights import keep_exact


def choose_device(requested: str) -> str:
    """The device to use. Raises ConfigError when a GPU is asked for and there is none."""
    available = torch.cuda.is_available()
    if requested == "auto":
        return "cuda" if available else "cpu"
    if requested.startswith("cuda") and not available:
        raise ConfigError(f"device {requested!r} was asked for, but no CUDA device is available", hint="--device cpu")
    if requested != "cpu" and not requested.startswith("cuda"):
        raise ConfigError(f"unknown device {requested!r}", hint="auto, cpu, cuda or cuda:N")
    return requested


def choose_dtype(requested: str, device: str) -> str:
    """The name of the dtype to use; ``auto`` is what the device computes fast."""
    if requested != "auto":
        return requested
    if device == "cpu":
        return cpu_dtype()
    return "bfloat16" if torch.cuda.is_bf16_supported() else "float16"


def load_base_model(settings: EngineSettings) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The base model, on its device and in its dtype, and its tokenizer.

    Raises BaseModelError or ConfigError with the remedy, or DeviceOutOfMemory.
    """
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    device = choose_device(settings.device)
    dtype = getattr(torch, choose_dtype(settings.dtype, device))
    options: dict[str, Any] = {"local_files_only": not settings.allow_hub, "trust_remote_code": False}
    try:
        tokenizer = AutoTokenizer.from_pretrained(settings.base_model, **options)
        if settings.quantization != "none":
            options |= {
                "quantization_config": quantization.bitsandbytes_config(settings.quantization, dtype),
                "device_map": device,
            }
        model = AutoModelForCausalLM.from_pretrained(settings.base_model, dtype=dtype, use_safetensors=True, **options)
        model = (model if settings.quantization != "none" else model.to(device)).eval()
        keep_exact(model.modules())
    except torch.OutOfMemoryError:
        pass  # raised below: an exception that is being handled keeps the tensors of its frames alive
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise BaseModelError(
            f"the base model {settings.base_model} cannot be loaded: {reason}",
            hint=f"name a model folder with --base-model or {BASE_MODEL_VARIABLE}",
        ) from error
    else:
        return model, tokenizer
    raise DeviceOutOfMemory(f"{device} has too little free memory for {settings.base_model}")


def ensure_chat_template(tokenizer: PreTrainedTokenizerBase, name: str | None) -> str | None:
    """Give the tokenizer a chat template where it has none; ``name`` of ours, ChatML by default.

    Returns what was done, for people; None when there was nothing to do.
    """
    if tokenizer.chat_template is not None:
        return None
    tokenizer.chat_template = template_named(name or "chatml")
    return f"the base model has no chat template; {name or 'chatml'} is used"


def fingerprint(base_model: str) -> str:
    """Names the base model's files (64 hexadecimal digits): identical for identical files, wherever they lie.

    A hub id stands for itself.
    """
    folder = Path(base_model)
    if not folder.is_dir():
        return hashlib.sha256(base_model.encode()).hexdigest()
    # Hub caches are folders of links; the user named this folder, so its links are followed.
    files = [(name, (folder / name).resolve()) for name in files_that_matter(folder)]
    lines = [f"{name} {describe_file(path.parent, path.name).sha256}" for name, path in files]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
