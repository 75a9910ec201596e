"""What the device can honour of a configuration; what it cannot is replaced by its nearest equivalent, and said.

Dropping quantization changes results, so that alone is refused unless the user allows it.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from dataclasses import dataclass

from sidestep.shared.cpu_dtype import cpu_dtype
from sidestep.shared.errors import ConfigError, UnsupportedOnDevice
from sidestep.trainer.config.fields import Quantization, TrainingConfig

_BITSANDBYTES_OPTIMIZERS = ("8bit", "bnb", "paged")
_COMPILED_TO_GRAPHS = "reduce-overhead"  # torch.compile's name for: through CUDA graphs


@dataclass(frozen=True)
class DeviceFacts:
    """What was found on this machine."""

    device: str  # cpu or cuda[:N]
    fast_bf16: bool
    has_bitsandbytes: bool = False
    has_flash_attention: bool = False
    has_compiler: bool = False  # what torch.compile's inductor builds with: a GPU's own, or a C++ compiler
    has_unsloth: bool = False
    compile_disabled: bool = False

    @property
    def is_cuda(self) -> bool:
        return self.device.startswith("cuda")


@dataclass(frozen=True)
class DevicePlan:
    """How the training really runs. ``replaced`` has one line for each option that was replaced."""

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
    compile_mode: str | None = None
    cuda_graphs: bool = False
    unsloth: bool = False
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
        has_compiler=device.startswith("cuda") or any(shutil.which(compiler) for compiler in _compilers()),
        has_unsloth=importlib.util.find_spec("unsloth") is not None,
        compile_disabled="1" in (os.environ.get("PYTORCH_DISABLE_COMPILE"), os.environ.get("TORCH_COMPILE_DISABLE")),
    )


def plan_device(config: TrainingConfig, facts: DeviceFacts) -> DevicePlan:
    """The nearest this device comes to the configuration. Pure; raises UnsupportedOnDevice for quantization."""
    notes: list[str] = []
    dtype, autocast = _precision(config, facts, notes)
    compiles, graphs = _compile(config, facts, notes)
    return DevicePlan(
        device=facts.device,
        dtype=dtype,
        autocast=autocast,
        attention=_attention(config, facts, dtype, notes),
        optim=_optimizer(config, facts, notes),
        quantization=_quantization(config, facts, notes, dtype),
        tf32=_keep(config.use_tf32, facts.is_cuda, "use_tf32", f"{dtype} products", notes),
        # On by default, so dropping it is not worth a line: without a GPU there is nothing to pin for.
        pin_memory=config.dataloader_pin_memory and facts.is_cuda,
        compile=compiles,
        compile_mode=_COMPILED_TO_GRAPHS if graphs else config.torch_compile_mode if compiles else None,
        cuda_graphs=graphs,
        packing=_packing(config, notes),
        unsloth=_unsloth(config, facts, notes),
        replaced=(*notes, *_without_loading_processes(config)),
    )


def _precision(config: TrainingConfig, facts: DeviceFacts, notes: list[str]) -> tuple[str, str | None]:
    """Dtype of the weights, and whether products run under autocast.

    Frozen weights are kept in the low precision itself; on CPUs without autocast, which was measured slower there.
    Weights that are trained (full) stay float32, or small updates would be rounded away.
    """
    dtype, autocast = _frozen_precision(config, facts, notes)
    if config.adapter_type == "full" and dtype != "float32":
        return "float32", "fp16" if dtype == "float16" else "bf16"
    return dtype, autocast


def _frozen_precision(config: TrainingConfig, facts: DeviceFacts, notes: list[str]) -> tuple[str, str | None]:
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


def _attention(config: TrainingConfig, facts: DeviceFacts, dtype: str, notes: list[str]) -> str:
    if config.flash_attention_2:
        if not (facts.is_cuda and facts.has_flash_attention):
            notes.append("flash_attention_2 is replaced by sdpa: it needs a GPU and the package flash-attn")
        elif dtype == "float32":
            notes.append("flash_attention_2 is replaced by sdpa: it computes in bf16 or fp16 only, and neither is set")
        else:
            return "flash_attention_2"
        return "sdpa"
    return "sdpa" if config.use_sdpa or config.memory_efficient_attention else "eager"


def _optimizer(config: TrainingConfig, facts: DeviceFacts, notes: list[str]) -> str:
    needs_bitsandbytes = any(part in config.optim for part in _BITSANDBYTES_OPTIMIZERS)
    if not needs_bitsandbytes or facts.has_bitsandbytes:
        if "paged" in config.optim and not facts.is_cuda:
            nearest = config.optim.replace("paged_", "")
            notes.append(f"optim {config.optim} is replaced by {nearest}: only a GPU's memory has pages to move")
            return nearest
        return config.optim
    nearest = "lion_pytorch" if "lion" in config.optim else "rmsprop" if "rmsprop" in config.optim else "adamw_torch"
    notes.append(f"optim {config.optim} is replaced by {nearest}: the package bitsandbytes is not installed")
    return nearest


def _quantization(config: TrainingConfig, facts: DeviceFacts, notes: list[str], dtype: str) -> Quantization:
    wanted = config.quantization
    reason, remedy = "", ""
    if not facts.has_bitsandbytes:
        reason, remedy = "bitsandbytes is not installed", "pip install bitsandbytes"
    elif (config.adapter_type, wanted, facts.is_cuda) == ("dora", "int8", False):
        reason, remedy = "PEFT's DoRA loses the scales of 8-bit weights on processors", "set quantization to int4"
    if wanted == "none" or not reason:
        return wanted
    if not config.allow_unquantized:
        raise UnsupportedOnDevice(
            f"quantization {wanted} is not possible on this machine: {reason}",
            hint=f"{remedy}; or --allow-unquantized trains in {dtype} instead, with other results",
        )
    notes.append(f"quantization {wanted} is replaced by {dtype} weights (--allow-unquantized)")
    return "none"


def _compile(config: TrainingConfig, facts: DeviceFacts, notes: list[str]) -> tuple[bool, bool]:
    """Whether to compile the model, and whether to CUDA graphs."""
    wanted = [name for name in ("torch_compile", "use_cuda_graphs") if getattr(config, name)]
    if not wanted:
        return False, False
    if facts.compile_disabled:
        notes.append(f"{' and '.join(wanted)} is replaced by eager execution: the environment disables compilation")
        return False, False
    inductor = config.torch_compile_backend in (None, "inductor")
    can = facts.has_compiler or not inductor
    compiles = _keep(config.torch_compile, can, "torch_compile", "eager execution: no compiler was found", notes)
    nearest = "torch_compile without graphs" if compiles else "eager execution"
    graphs = _keep(config.use_cuda_graphs, facts.is_cuda, "use_cuda_graphs", f"{nearest}: it needs a GPU", notes)
    return compiles or graphs, graphs


def _packing(config: TrainingConfig, notes: list[str]) -> bool:
    """Every attention that we use keeps packed rows apart by their positions (a test holds it)."""
    reason = "the vectors of a soft prompt belong in front of every row"
    if config.method == "dpo":
        reason = "TRL does not pack preference pairs"
    possible = config.adapter_type != "prompt_tuning" and config.method != "dpo"
    return _keep(config.packing, possible, "packing", f"one row in each sequence: {reason}", notes)


def _unsloth(config: TrainingConfig, facts: DeviceFacts, notes: list[str]) -> bool:
    """Unsloth where it can be had; else the standard path, said once."""
    reason = "adapter_type prompt_tuning does not go through it"
    if not facts.is_cuda:
        reason = "it needs a GPU"
    elif not facts.has_unsloth:
        reason = "it is not installed (pip install 'sidestep[unsloth]')"
    possible = facts.is_cuda and facts.has_unsloth and config.adapter_type != "prompt_tuning"
    return _keep(config.use_unsloth, possible, "use_unsloth", f"transformers and PEFT: {reason}", notes)


def _without_loading_processes(config: TrainingConfig) -> list[str]:
    if config.dataloader_num_workers:
        return []
    names = ("dataloader_prefetch_factor", "dataloader_persistent_workers")
    given = [name for name in names if getattr(config, name)]
    reason = "replaced by loading in the training process: dataloader_num_workers is 0"
    return [f"{' and '.join(given)} is {reason}"] if given else []


def _compilers() -> tuple[str, ...]:
    return tuple(filter(None, (os.environ.get("CXX"), "g++", "clang++", "cl")))


def _keep(wanted: bool, possible: bool, name: str, nearest: str, notes: list[str]) -> bool:
    if wanted and not possible:
        notes.append(f"{name} is replaced by {nearest}")
    return wanted and possible
