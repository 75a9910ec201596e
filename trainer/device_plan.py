"""What the device can honour of a configuration; what it cannot is replaced by its nearest equivalent, and said.

Dropping quantization changes results, so that alone is refused unless the user allows it.
"""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass

from shared.cpu_dtype import cpu_dtype
from shared.errors import ConfigError, UnsupportedOnDevice
from trainer.config import Quantization, TrainingConfig

_BITSANDBYTES_OPTIMIZERS = ("8bit", "bnb", "paged")


@dataclass(frozen=True)
class DeviceFacts:
    """What was found on this machine."""

    device: str  # cpu or cuda[:N]
    fast_bf16: bool
    has_bitsandbytes: bool = False
    has_flash_attention: bool = False
    compile_disabled: bool = False

    @property
    def is_cuda(self) -> bool:
        return self.device.startswith("cuda")


@dataclass(frozen=True)
class DevicePlan:
    """How the training really runs. ``replaced`` has one line for each option that had to give way."""

    device: str
    dtype: str  # of the base model's weights
    autocast: str | None  # bf16, fp16 or None
    attention: str
    optim: str
    quantization: Quantization
    tf32: bool
    pin_memory: bool
    compile: bool
    packing: bool
    replaced: tuple[str, ...] = ()


def find_device(requested: str) -> DeviceFacts:
    """Look at the machine. Raises ConfigError when a GPU is asked for and there is none."""
    import torch

    if requested not in ("auto", "cpu") and not requested.startswith("cuda"):
        raise ConfigError(f"unknown device {requested!r}", hint="auto, cpu, cuda or cuda:N")
    available = torch.cuda.is_available()
    if requested.startswith("cuda") and not available:
        raise ConfigError(f"device {requested!r} was asked for, but no CUDA device is available", hint="--device cpu")
    device = requested if requested != "auto" else ("cuda" if available else "cpu")
    return DeviceFacts(
        device=device,
        fast_bf16=torch.cuda.is_bf16_supported() if device.startswith("cuda") else cpu_dtype() == "bfloat16",
        has_bitsandbytes=importlib.util.find_spec("bitsandbytes") is not None,
        has_flash_attention=importlib.util.find_spec("flash_attn") is not None,
        compile_disabled="1" in (os.environ.get("PYTORCH_DISABLE_COMPILE"), os.environ.get("TORCH_COMPILE_DISABLE")),
    )


def plan_device(config: TrainingConfig, facts: DeviceFacts) -> DevicePlan:
    """The nearest this device comes to the configuration. Pure; raises UnsupportedOnDevice for quantization."""
    notes: list[str] = []
    dtype, autocast = _precision(config, facts, notes)
    attention = _attention(config, facts, notes)
    return DevicePlan(
        device=facts.device,
        dtype=dtype,
        autocast=autocast,
        attention=attention,
        optim=_optimizer(config, facts, notes),
        quantization=_quantization(config, facts, notes, dtype),
        tf32=_keep(config.use_tf32, facts.is_cuda, "use_tf32", f"{dtype} products", notes),
        # A default, not a wish: without a GPU there is nothing to pin for.
        pin_memory=config.dataloader_pin_memory and facts.is_cuda,
        compile=_compile(config, facts, notes),
        packing=_keep(
            config.packing,
            attention == "flash_attention_2",
            "packing",
            "one row in each sequence (rows cannot be kept apart without flash attention)",
            notes,
        ),
        replaced=(*notes, *_unsloth(config)),
    )


def _precision(config: TrainingConfig, facts: DeviceFacts, notes: list[str]) -> tuple[str, str | None]:
    """Dtype of the weights, and whether products run under autocast (GPU only: measured slower on CPUs)."""
    if config.bf16 and facts.fast_bf16:
        return "bfloat16", "bf16" if facts.is_cuda else None
    if config.fp16 and facts.is_cuda:
        return "float16", "fp16"
    if config.bf16 and facts.is_cuda:
        notes.append("bf16 is replaced by fp16: this GPU has no bfloat16")
        return "float16", "fp16"
    if config.bf16:
        notes.append("bf16 is replaced by float32: this processor computes bfloat16 slowly")
    if config.fp16:
        nearest = "bfloat16" if facts.fast_bf16 else "float32"
        notes.append(f"fp16 is replaced by {nearest}: processors do not train in float16")
        return nearest, None
    return "float32", None


def _attention(config: TrainingConfig, facts: DeviceFacts, notes: list[str]) -> str:
    if config.flash_attention_2:
        if facts.is_cuda and facts.has_flash_attention:
            return "flash_attention_2"
        notes.append("flash_attention_2 is replaced by sdpa: it needs a GPU and the package flash-attn")
        return "sdpa"
    return "sdpa" if config.use_sdpa or config.memory_efficient_attention else "eager"


def _optimizer(config: TrainingConfig, facts: DeviceFacts, notes: list[str]) -> str:
    needs_bitsandbytes = any(part in config.optim for part in _BITSANDBYTES_OPTIMIZERS)
    if not needs_bitsandbytes or (facts.is_cuda and facts.has_bitsandbytes):
        return config.optim
    nearest = "lion_pytorch" if "lion" in config.optim else "rmsprop" if "rmsprop" in config.optim else "adamw_torch"
    notes.append(f"optim {config.optim} is replaced by {nearest}: it needs a GPU and the package bitsandbytes")
    return nearest


def _quantization(config: TrainingConfig, facts: DeviceFacts, notes: list[str], dtype: str) -> Quantization:
    if config.quantization == "none" or (facts.is_cuda and facts.has_bitsandbytes):
        return config.quantization
    if not config.allow_unquantized:
        raise UnsupportedOnDevice(
            f"quantization {config.quantization} is not possible on {facts.device}: it needs a GPU and bitsandbytes",
            hint=f"--allow-unquantized trains in {dtype} instead, with other results; or set quantization to none",
        )
    notes.append(f"quantization {config.quantization} is replaced by {dtype} weights (--allow-unquantized)")
    return "none"


def _compile(config: TrainingConfig, facts: DeviceFacts, notes: list[str]) -> bool:
    if config.torch_compile and facts.compile_disabled:
        notes.append("torch_compile is replaced by eager execution: the environment disables compilation")
        return False
    return _keep(config.torch_compile, facts.is_cuda, "torch_compile", "eager execution", notes)


def _unsloth(config: TrainingConfig) -> tuple[str, ...]:
    if not config.use_unsloth:
        return ()
    return (
        "use_unsloth is replaced by transformers and PEFT: training through Unsloth is not available in this version",
    )


def _keep(wanted: bool, possible: bool, name: str, nearest: str, notes: list[str]) -> bool:
    if wanted and not possible:
        notes.append(f"{name} is replaced by {nearest}")
    return wanted and possible
