"""Soft prompts: trained after the adapter and on top of it, saved where the manifest says.

A soft prompt is a few vectors in front of every input. The host loads an expert's adapter and switches one of its
soft prompts on, so each is trained on the adapted model, which is frozen by then. PEFT's prompt tuning does it;
TRL trains it like any other adapter.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePosixPath

import safetensors.torch
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer, TrainerCallback

from sidestep.shared.files import replace_file
from sidestep.shared.logs import get_logger
from sidestep.shared.protocol.layout import ModelFolder
from sidestep.trainer.adapter_setup import soft_prompt_config
from sidestep.trainer.arguments import training_arguments
from sidestep.trainer.config.fields import SoftPrompt, TrainingConfig
from sidestep.trainer.dataset_loader import TrainingData
from sidestep.trainer.device_plan import DevicePlan
from sidestep.trainer.objectives import Subject, build_trainer

log = get_logger("trainer")

TENSOR_NAME = "prompt_embeddings"  # as PEFT calls it in a checkpoint
DEFAULT_FOLDER = "soft_prompts"


def soft_prompt_path(folder: ModelFolder, prompt: SoftPrompt) -> Path:
    """Where a soft prompt is saved: the manifest's path below the model's folder, always as safetensors."""
    named = PurePosixPath((prompt.path or f"{DEFAULT_FOLDER}/{prompt.name}").replace("\\", "/"))
    # A name may have dots of its own (json_v1.2): only the suffixes of tensor files are taken off.
    stem = named.stem if named.suffix in (".pt", ".pth", ".bin", ".safetensors") else named.name
    return folder.root / named.parent / f"{stem}.safetensors"


def save_soft_prompt(model: PeftModel, prompt: SoftPrompt, folder: ModelFolder) -> Path:
    """Write the vectors of a prompt-tuned model, [tokens, hidden size], and return where."""
    path = soft_prompt_path(folder, prompt)
    path.parent.mkdir(parents=True, exist_ok=True)
    vectors = model.prompt_encoder[model.active_adapter].embedding.weight.detach().cpu().contiguous()
    replace_file(path, safetensors.torch.save({TENSOR_NAME: vectors}, metadata={"name": prompt.name}))
    log.info("saved soft prompt %s to %s", prompt.name, path)
    return path


def train_soft_prompts(
    config: TrainingConfig,
    plan: DevicePlan,
    adapted: tuple[PreTrainedModel, PreTrainedTokenizerBase],
    data: TrainingData,
    callbacks: list[TrainerCallback],
) -> list[Trainer]:
    """Train each of ``config.soft_prompts`` on the adapted model in turn, and save it."""
    model, tokenizer = adapted
    folder = ModelFolder(Path(config.output_dir))
    trainers = []
    for prompt in config.soft_prompts:
        single = _config_of_one(config, prompt)
        subject = Subject(model, tokenizer, soft_prompt_config(prompt, str(model.name_or_path)))
        log.info("soft prompt %s: training %d vectors on top of the adapter", prompt.name, prompt.tokens)
        arguments = training_arguments(single, replace(plan, packing=False), folder)
        trainer = build_trainer(subject, arguments, replace(data, validation=None), callbacks)
        outcome = trainer.train()
        log.info("soft prompt %s: loss %.4f after %d steps", prompt.name, outcome.training_loss, outcome.global_step)
        save_soft_prompt(trainer.accelerator.unwrap_model(trainer.model), prompt, folder)
        trainers.append(trainer)
    return trainers


def adapted_model(trainer: Trainer) -> PreTrainedModel:
    """The trained model without PEFT around it: the adapter merged, or left in place over quantized weights."""
    model = trainer.accelerator.unwrap_model(trainer.model)
    if not isinstance(model, PeftModel):
        return model
    base = model.get_base_model()
    if getattr(base, "is_quantized", False):
        return base  # merging would round the adapter to the quantized grid
    return model.merge_and_unload()


def _config_of_one(config: TrainingConfig, prompt: SoftPrompt) -> TrainingConfig:
    """The same training, of one soft prompt only, without checkpoints of its own."""
    return replace(
        config,
        adapter_type="prompt_tuning",
        soft_prompts=(prompt,),
        target_modules=(),
        save_strategy="no",
        evaluation_strategy="no",
        load_best_model_at_end=False,
    )
