"""Turns the resident base model into a checkpoint and back, exactly.

An adapter is merged into copies of the weights it changes; the originals are set aside and put back as they are, so
that no arithmetic is undone and every bit of the base survives any number of swaps.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from peft import LoraConfig, PeftConfig, PeftModel, PromptTuningConfig
from peft.utils import set_peft_model_state_dict
from transformers import PreTrainedModel

from sidestep.evaluator.engine import plain_lora
from sidestep.evaluator.engine.adapter_files import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    first_line,
    read_adapter_config,
    read_weights,
)
from sidestep.evaluator.engine.device_memory import is_device_failure
from sidestep.shared.errors import BaseModelMismatch, CheckpointRejected, CheckpointVanished


class ResidentModel:
    """The base model, and whatever checkpoint is attached to it at the moment."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self.soft_prompt: torch.Tensor | None = None  # [virtual tokens, hidden size], in front of every prompt
        self._originals: list[tuple[torch.Tensor, torch.Tensor]] = []
        # A quantized base cannot take an adapter in without loss: there PEFT's layers stay around the base's.
        self.is_quantized = bool(getattr(model, "is_quantized", False))
        self._is_wrapped = False

    @property
    def changed_parameters(self) -> frozenset[int]:
        """Ids of the parameters that are the checkpoint's at the moment, and not the base model's."""
        return frozenset(id(parameter) for parameter, _ in self._originals)

    def attach(self, folder: Path) -> None:
        """Become the checkpoint in ``folder``: an adapter, or full weights of the same architecture.

        Raises CheckpointRejected or, where another base model might do, BaseModelMismatch with the reason, or
        CheckpointVanished; the base is then as it was.
        """
        self.detach()
        try:
            if (folder / ADAPTER_CONFIG).exists():
                self._attach_adapter(folder)
            else:
                self._attach_full_weights(folder)
        except FileNotFoundError as error:
            self.detach()
            raise CheckpointVanished(f"{error.filename or folder} is gone") from error
        except BaseException:
            self.detach()
            raise

    def detach(self) -> None:
        """Put every original tensor back."""
        if self._is_wrapped:
            self._unwrap()
            self._is_wrapped = False
        for parameter, original in self._originals:
            parameter.data = original
        self._originals = []
        self.soft_prompt = None

    def _replace(self, parameter: torch.Tensor, replacement: torch.Tensor) -> None:
        self._originals.append((parameter, parameter.data))
        parameter.data = replacement

    def _attach_adapter(self, folder: Path) -> None:
        config = read_adapter_config(folder)
        state = read_weights(folder / ADAPTER_WEIGHTS)
        if isinstance(config, PromptTuningConfig):
            self.soft_prompt = self._checked_soft_prompt(config, state)
            return
        targets = list(self._target_modules(config))
        if not self.is_quantized and isinstance(config, LoraConfig) and plain_lora.is_plain_lora(config):
            for parameter, replacement in plain_lora.merge_weights(config, state, targets):
                self._replace(parameter, replacement)
            return
        if not self.is_quantized:
            for _, module in targets:
                self._replace(module.weight, module.weight.data.clone())
        self._attach_with_peft(config, state)

    def _attach_with_peft(self, config: PeftConfig, state: dict[str, torch.Tensor]) -> None:
        """Let PEFT wrap the targets, and merge what it wraps where the base is not quantized."""
        try:
            wrapped = PeftModel(self.model, config, low_cpu_mem_usage=True)
            result = set_peft_model_state_dict(wrapped, state, low_cpu_mem_usage=True)
            missing = [name for name, parameter in wrapped.named_parameters() if parameter.is_meta]
            if result.unexpected_keys or missing:
                name = (result.unexpected_keys or missing)[0]
                problem = "does not belong to this model" if result.unexpected_keys else "is missing"
                raise BaseModelMismatch(f"{ADAPTER_WEIGHTS}: the tensor {name} {problem}")
            if self.is_quantized:
                self._is_wrapped = True
                wrapped.eval()
                return
            wrapped.merge_and_unload()
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            self._unwrap()
            if isinstance(error, torch.OutOfMemoryError) or is_device_failure(error):
                raise  # says nothing about the checkpoint
            raise BaseModelMismatch(f"the adapter does not fit the base model: {first_line(error)}") from error
        except BaseException:
            self._unwrap()
            raise
        self._forget_peft()

    def _checked_soft_prompt(self, config: PromptTuningConfig, state: dict[str, torch.Tensor]) -> torch.Tensor:
        """The soft prompt [virtual tokens, hidden size], where the base model is. Raises CheckpointRejected."""
        embedding = self.model.get_input_embeddings().weight
        prompt = state.pop("prompt_embeddings", None)
        if prompt is None or state:
            problem = "prompt_embeddings is missing" if prompt is None else f"{sorted(state)[0]} does not belong there"
            raise CheckpointRejected(f"{ADAPTER_WEIGHTS}: the tensor {problem}")
        shape = (config.num_virtual_tokens, embedding.shape[1])
        if tuple(prompt.shape) != shape:
            error = CheckpointRejected if tuple(prompt.shape[1:]) == shape[1:] else BaseModelMismatch
            raise error(
                f"the adapter does not fit the base model: its soft prompt has shape {tuple(prompt.shape)}, not {shape}"
            )
        return prompt.to(embedding.device, embedding.dtype)

    def _target_modules(self, config: PeftConfig) -> Iterator[plain_lora.TargetModule]:
        """The target modules by name. Raises CheckpointRejected for what cannot be merged alone."""
        output = self.model.get_output_embeddings()
        tied = self.model.get_input_embeddings().weight is output.weight
        targets = set(config.target_modules or ())
        found = set()
        for name, module in self.model.named_modules():
            suffix = next((target for target in targets if name == target or name.endswith(f".{target}")), None)
            if suffix is None:
                continue
            found.add(suffix)
            if not isinstance(module, torch.nn.Linear):
                raise CheckpointRejected(f"the adapter targets {name}, which is not a linear layer")
            if module is output and tied:
                raise CheckpointRejected(f"the adapter targets {name}, which shares its weights with the embedding")
            yield name, module
        if missing := sorted(targets - found):
            raise BaseModelMismatch(f"the base model has no module {missing[0]}, which the adapter targets")

    def _unwrap(self) -> None:
        """Take PEFT's layers out again, without merging."""
        for module in list(self.model.modules()):
            for name, child in list(module.named_children()):
                if hasattr(child, "base_layer"):
                    setattr(module, name, child.base_layer)
        self._forget_peft()

    def _forget_peft(self) -> None:
        for name in ("peft_config", "peft_type"):
            if name in self.model.__dict__:
                delattr(self.model, name)

    def _attach_full_weights(self, folder: Path) -> None:
        if self.is_quantized:
            raise BaseModelMismatch("full weights cannot take the place of a quantized base model's")
        names = sorted(path.name for path in folder.glob("model*.safetensors"))
        if not names:
            raise CheckpointRejected(f"neither {ADAPTER_CONFIG} nor model weights in safetensors format")
        state: dict[str, torch.Tensor] = {}
        for name in names:
            state |= read_weights(folder / name)
        parameters = dict(self.model.named_parameters())
        for name, tensor in state.items():
            parameter = parameters.get(name)
            if parameter is None or parameter.shape != tensor.shape:
                if name == "lm_head.weight" and parameter is None:
                    continue  # tied to the embedding, which is there
                raise BaseModelMismatch(f"the tensor {name} does not belong to the base model's architecture")
            self._replace(parameter, tensor.to(parameter.device, parameter.dtype))
        if missing := sorted(set(parameters) - set(state)):
            raise BaseModelMismatch(f"the tensor {missing[0]} is missing")
