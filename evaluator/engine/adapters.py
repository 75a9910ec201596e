"""Turns the resident base model into a checkpoint and back, exactly.

An adapter is merged through PEFT into copies of the weights it touches; the originals are set aside and put back as
they are, so that no arithmetic is undone and every bit of the base survives any number of swaps. Only an adapter's
own settings are believed: where the base model is, and anything that names code, is not.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import torch
from peft import IA3Config, LoKrConfig, LoraConfig, PeftConfig, PeftModel, PromptTuningConfig
from peft.utils import set_peft_model_state_dict
from safetensors.torch import load_file
from transformers import PreTrainedModel

from sidestep.evaluator.engine import plain_lora
from sidestep.evaluator.engine.device_memory import is_device_failure
from sidestep.shared.errors import CheckpointRejected, CheckpointVanished
from sidestep.shared.files import read_bounded
from sidestep.shared.protocol.checkpoint import InvalidSafetensors, check_safetensors

MAX_CONFIG_BYTES = 1 << 20
MAX_VIRTUAL_TOKENS = 4096
ADAPTER_WEIGHTS = "adapter_model.safetensors"

# Settings that describe an adapter's arithmetic. Everything else in the file is ignored, or refused below.
_LORA_KEYS = {
    "r", "lora_alpha", "target_modules", "fan_in_fan_out", "use_rslora", "use_dora", "rank_pattern", "alpha_pattern",
    "layers_to_transform", "layers_pattern", "exclude_modules",
}  # fmt: skip
_KINDS: dict[str, tuple[type[PeftConfig], set[str]]] = {
    "LORA": (LoraConfig, _LORA_KEYS),
    "PROMPT_TUNING": (PromptTuningConfig, {"num_virtual_tokens"}),
    "IA3": (IA3Config, {"target_modules", "feedforward_modules", "fan_in_fan_out", "exclude_modules"}),
    "LOKR": (
        LoKrConfig,
        {
            "r",
            "alpha",
            "target_modules",
            "use_effective_conv2d",
            "decompose_both",
            "decompose_factor",
            "rank_pattern",
            "alpha_pattern",
            "layers_to_transform",
            "layers_pattern",
            "exclude_modules",
        },
    ),
}
_REFUSED = {
    "auto_mapping": "names code to load",
    "modules_to_save": "replaces whole modules",
    "trainable_token_indices": "replaces token embeddings",
    "megatron_config": "is for Megatron",
    "layer_replication": "changes the number of layers",
    "target_parameters": "adapts bare parameters",
}


class ResidentModel:
    """The base model, and whatever checkpoint is attached to it at the moment."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self.soft_prompt: torch.Tensor | None = None  # (virtual tokens, hidden size), in front of every prompt
        self._originals: list[tuple[torch.Tensor, torch.Tensor]] = []
        # A quantized base cannot take an adapter in without loss: there the adapter's layers stay beside it.
        self.is_quantized = bool(getattr(model, "is_quantized", False))
        self._beside = False

    @property
    def touched(self) -> frozenset[int]:
        """Ids of the parameters that are the checkpoint's at the moment, and not the base model's."""
        return frozenset(id(parameter) for parameter, _ in self._originals)

    def attach(self, folder: Path) -> None:
        """Become the checkpoint in ``folder``: an adapter, or full weights of the same architecture.

        Raises CheckpointRejected with the reason, or CheckpointVanished; the base is then as it was.
        """
        self.detach()
        try:
            if (folder / "adapter_config.json").exists():
                self._attach_adapter(folder)
            else:
                self._attach_full(folder)
        except FileNotFoundError as error:
            self.detach()
            raise CheckpointVanished(f"{error.filename or folder} is gone") from error
        except BaseException:
            self.detach()
            raise

    def detach(self) -> None:
        """Put every original tensor back."""
        if self._beside:
            self._unwrap()
            self._beside = False
        for parameter, original in self._originals:
            parameter.data = original
        self._originals = []
        self.soft_prompt = None

    def _set_aside(self, parameter: torch.Tensor, replacement: torch.Tensor) -> None:
        self._originals.append((parameter, parameter.data))
        parameter.data = replacement

    def _attach_adapter(self, folder: Path) -> None:
        config = read_adapter_config(folder)
        state = read_weights(folder / ADAPTER_WEIGHTS)
        if isinstance(config, PromptTuningConfig):
            self.soft_prompt = self._soft_prompt(config, state)
            return
        targets = list(self._targets(config))
        if not self.is_quantized and isinstance(config, LoraConfig) and plain_lora.is_plain(config):
            for parameter, replacement in plain_lora.merged(config, state, targets):
                self._set_aside(parameter, replacement)
            return
        if not self.is_quantized:
            for _, module in targets:
                self._set_aside(module.weight, module.weight.data.clone())
        try:
            wrapped = PeftModel(self.model, config, low_cpu_mem_usage=True)
            result = set_peft_model_state_dict(wrapped, state, low_cpu_mem_usage=True)
            missing = [name for name, each in wrapped.named_parameters() if each.is_meta]
            if result.unexpected_keys or missing:
                odd = (result.unexpected_keys or missing)[0]
                what = "does not belong to this model" if result.unexpected_keys else "is missing"
                raise CheckpointRejected(f"{ADAPTER_WEIGHTS}: the tensor {odd} {what}")
            if self.is_quantized:
                self._beside = True
                wrapped.eval()
                return
            wrapped.merge_and_unload()
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            self._unwrap()
            if isinstance(error, torch.OutOfMemoryError) or is_device_failure(error):
                raise  # says nothing about the checkpoint
            raise CheckpointRejected(f"the adapter does not fit the base model: {_first_line(error)}") from error
        except BaseException:
            self._unwrap()
            raise
        self._forget_peft()

    def _soft_prompt(self, config: PromptTuningConfig, state: dict[str, torch.Tensor]) -> torch.Tensor:
        embedding = self.model.get_input_embeddings().weight
        prompt = state.pop("prompt_embeddings", None)
        if prompt is None or state:
            odd = "prompt_embeddings is missing" if prompt is None else f"{sorted(state)[0]} does not belong there"
            raise CheckpointRejected(f"{ADAPTER_WEIGHTS}: the tensor {odd}")
        shape = (config.num_virtual_tokens, embedding.shape[1])
        if tuple(prompt.shape) != shape:
            raise CheckpointRejected(
                f"the adapter does not fit the base model: its soft prompt has shape {tuple(prompt.shape)}, not {shape}"
            )
        return prompt.to(embedding.device, embedding.dtype)

    def _targets(self, config: PeftConfig) -> Iterator[plain_lora.Target]:
        """The target modules by name. Raises CheckpointRejected for what cannot be merged alone."""
        output = self.model.get_output_embeddings()
        tied = self.model.get_input_embeddings().weight is output.weight
        targets = set(config.target_modules or ())
        found = set()
        for name, module in self.model.named_modules():
            suffix = next((each for each in targets if name == each or name.endswith(f".{each}")), None)
            if suffix is None:
                continue
            found.add(suffix)
            if not isinstance(module, torch.nn.Linear):
                raise CheckpointRejected(f"the adapter targets {name}, which is no linear layer")
            if module is output and tied:
                raise CheckpointRejected(f"the adapter targets {name}, which shares its weights with the embedding")
            yield name, module
        if missing := sorted(targets - found):
            raise CheckpointRejected(f"the base model has no module {missing[0]}, which the adapter targets")

    def _unwrap(self) -> None:
        """Take PEFT's layers out again after a failure, without merging."""
        for module in list(self.model.modules()):
            for name, child in list(module.named_children()):
                if hasattr(child, "base_layer"):
                    setattr(module, name, child.base_layer)
        self._forget_peft()

    def _forget_peft(self) -> None:
        for name in ("peft_config", "peft_type"):
            if name in self.model.__dict__:
                delattr(self.model, name)

    def _attach_full(self, folder: Path) -> None:
        if self.is_quantized:
            raise CheckpointRejected("full weights cannot take the place of a quantized base model's")
        names = sorted(path.name for path in folder.glob("model*.safetensors"))
        if not names:
            raise CheckpointRejected("neither adapter_config.json nor model weights in safetensors format")
        state: dict[str, torch.Tensor] = {}
        for name in names:
            state |= read_weights(folder / name)
        parameters = dict(self.model.named_parameters())
        for name, tensor in state.items():
            parameter = parameters.get(name)
            if parameter is None or parameter.shape != tensor.shape:
                if name == "lm_head.weight" and parameter is None:
                    continue  # tied to the embedding, which is there
                raise CheckpointRejected(f"the tensor {name} does not belong to the base model's architecture")
            self._set_aside(parameter, tensor.to(parameter.device, parameter.dtype))
        if missing := sorted(set(parameters) - set(state)):
            raise CheckpointRejected(f"the tensor {missing[0]} is missing")


def read_adapter_config(folder: Path) -> PeftConfig:
    """PEFT's configuration from adapter_config.json, which a stranger may have written. Raises CheckpointRejected."""
    try:
        document = orjson.loads(read_bounded(folder / "adapter_config.json", MAX_CONFIG_BYTES))
    except orjson.JSONDecodeError as error:
        raise CheckpointRejected(f"adapter_config.json is not valid JSON: {error.msg}") from error
    if not isinstance(document, dict):
        raise CheckpointRejected("adapter_config.json holds no object")
    for key, reason in _REFUSED.items():
        if document.get(key):
            raise CheckpointRejected(f"adapter_config.json: {key} {reason}, which this version cannot evaluate")
    if document.get("bias", "none") not in ("none", None):
        raise CheckpointRejected("adapter_config.json: trained biases cannot be evaluated by this version")
    kind = str(document.get("peft_type", "")).upper()
    if kind not in _KINDS:
        raise CheckpointRejected(
            f"adapter type {kind or 'missing'!r} cannot be evaluated; known are {', '.join(_KINDS)}"
        )
    build, known = _KINDS[kind]
    values: dict[str, Any] = {key: document[key] for key in known if document.get(key) is not None}
    if kind == "PROMPT_TUNING":
        values["num_virtual_tokens"] = _virtual_tokens(values.get("num_virtual_tokens"))
    elif not isinstance(values.get("target_modules"), list) or not all(
        isinstance(x, str) for x in values["target_modules"]
    ):
        raise CheckpointRejected("adapter_config.json: target_modules is no list of names")
    try:
        return build(task_type="CAUSAL_LM", **values)
    except (TypeError, ValueError) as error:
        raise CheckpointRejected(f"adapter_config.json: {_first_line(error)}") from error


def _virtual_tokens(value: Any) -> int:
    if not isinstance(value, int) or not 0 < value <= MAX_VIRTUAL_TOKENS:
        raise CheckpointRejected(f"adapter_config.json: num_virtual_tokens = {value!r} is no number of tokens")
    return value


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Tensors of a safetensors file on the CPU. Raises CheckpointRejected, or FileNotFoundError."""
    try:
        check_safetensors(path)
        state: dict[str, torch.Tensor] = load_file(path)
    except FileNotFoundError:
        raise
    except (InvalidSafetensors, OSError, ValueError, RuntimeError) as error:
        raise CheckpointRejected(f"{path.name}: {_first_line(error)}") from error
    for name, tensor in state.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise CheckpointRejected(f"{path.name}: {name} contains NaN or infinite weights")
    return state


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
