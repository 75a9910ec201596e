"""What is read of an adapter's files, which are untrusted input: its own settings, and tensors in safetensors format.

Only the settings that describe an adapter's arithmetic are believed: where the base model is, and anything that names
code, is not. Pickled weights are never opened.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import torch
from peft import IA3Config, LoKrConfig, LoraConfig, PeftConfig, PromptTuningConfig
from safetensors.torch import load_file

from sidestep.shared.errors import CheckpointRejected
from sidestep.shared.files import read_bounded
from sidestep.shared.protocol.checkpoint import InvalidSafetensors, check_safetensors

MAX_CONFIG_BYTES = 1 << 20
MAX_VIRTUAL_TOKENS = 4096
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"

# PEFT's class and the settings that describe the arithmetic, by ``peft_type``; others are ignored, or refused below.
# LoRA: arXiv 2106.09685, DoRA: 2402.09353, prompt tuning: 2104.08691, IA³: 2205.05638, LoKr: 2309.14859.
_ADAPTER_TYPES: dict[str, tuple[type[PeftConfig], set[str]]] = {
    "LORA": (
        LoraConfig,
        {
            "r", "lora_alpha", "target_modules", "fan_in_fan_out", "use_rslora", "use_dora", "rank_pattern",
            "alpha_pattern", "layers_to_transform", "layers_pattern", "exclude_modules",
        },
    ),
    "PROMPT_TUNING": (PromptTuningConfig, {"num_virtual_tokens"}),
    "IA3": (IA3Config, {"target_modules", "feedforward_modules", "fan_in_fan_out", "exclude_modules"}),
    "LOKR": (
        LoKrConfig,
        {
            "r", "alpha", "target_modules", "use_effective_conv2d", "decompose_both", "decompose_factor",
            "rank_pattern", "alpha_pattern", "layers_to_transform", "layers_pattern", "exclude_modules",
        },
    ),
}  # fmt: skip
_REFUSED = {
    "auto_mapping": "names code to load",
    "modules_to_save": "replaces whole modules",
    "trainable_token_indices": "replaces token embeddings",
    "megatron_config": "is for Megatron",
    "layer_replication": "changes the number of layers",
    "target_parameters": "adapts bare parameters",
}


# Ways to begin a LoRA training that leave the base model as it is. PiSSA, OLoRA, LoftQ, CorDA and the like take a part
# out of its weights first (arXiv 2404.02948, 2406.01775, 2310.08659): added to whole weights, such an adapter is wrong.
_PLAIN_STARTS = (None, True, False, "gaussian", "orthogonal", "eva")


def read_adapter_config(folder: Path) -> PeftConfig:
    """PEFT's configuration from the folder's adapter_config.json. Raises CheckpointRejected with the reason."""
    try:
        document = orjson.loads(read_bounded(folder / ADAPTER_CONFIG, MAX_CONFIG_BYTES))
    except orjson.JSONDecodeError as error:
        raise CheckpointRejected(f"{ADAPTER_CONFIG} is not valid JSON: {error.msg}") from error
    if not isinstance(document, dict):
        raise CheckpointRejected(f"{ADAPTER_CONFIG} is not a JSON object")
    for key, reason in _REFUSED.items():
        if document.get(key):
            raise CheckpointRejected(f"{ADAPTER_CONFIG}: {key} {reason}, which this version cannot evaluate")
    if (method := document.get("init_lora_weights")) not in _PLAIN_STARTS:
        raise CheckpointRejected(
            f"{ADAPTER_CONFIG}: init_lora_weights = {str(method)[:40]!r} changes the base model's weights as training "
            "begins, and the adapter fits those alone",
            hint="save it with PEFT's save_pretrained(…, path_initial_model_for_weight_conversion=…), as plain LoRA",
        )
    if document.get("bias", "none") not in ("none", None):
        raise CheckpointRejected(f"{ADAPTER_CONFIG}: trained biases cannot be evaluated by this version")
    kind = str(document.get("peft_type", "")).upper()
    if kind not in _ADAPTER_TYPES:
        raise CheckpointRejected(
            f"adapter type {kind or 'missing'!r} cannot be evaluated; known are {', '.join(_ADAPTER_TYPES)}"
        )
    build, known = _ADAPTER_TYPES[kind]
    values: dict[str, Any] = {key: document[key] for key in known if document.get(key) is not None}
    if kind == "PROMPT_TUNING":
        _check_virtual_tokens(values.get("num_virtual_tokens"))
    else:
        _check_target_modules(values.get("target_modules"))
    try:
        return build(task_type="CAUSAL_LM", **values)
    except (TypeError, ValueError) as error:
        raise CheckpointRejected(f"{ADAPTER_CONFIG}: {first_line(error)}") from error


def _check_virtual_tokens(value: object) -> None:
    if not isinstance(value, int) or not 0 < value <= MAX_VIRTUAL_TOKENS:
        raise CheckpointRejected(f"{ADAPTER_CONFIG}: num_virtual_tokens = {value!r} is not a number of tokens")


def _check_target_modules(value: object) -> None:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise CheckpointRejected(f"{ADAPTER_CONFIG}: target_modules is not a list of names")


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Tensors of a safetensors file by name, on the CPU. Raises CheckpointRejected, or FileNotFoundError."""
    try:
        check_safetensors(path)
        state: dict[str, torch.Tensor] = load_file(path)
    except FileNotFoundError:
        raise
    except (InvalidSafetensors, OSError, ValueError, RuntimeError) as error:
        raise CheckpointRejected(f"{path.name}: {first_line(error)}") from error
    for name, tensor in state.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise CheckpointRejected(f"{path.name}: {name} contains NaN or infinite weights")
    return state


def first_line(error: BaseException) -> str:
    """An error's message, as one line of at most 300 characters."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
