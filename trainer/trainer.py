"""One training from configuration to final adapter: TRL's trainers, our data, our publisher."""

from __future__ import annotations

import logging
import os
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import datasets
import torch
import transformers
from peft import prepare_model_for_kbit_training
from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer, TrainerCallback

from sidestep.shared.errors import SidestepError
from sidestep.shared.logs import get_logger
from sidestep.shared.protocol.layout import ModelFolder, WeightsFolder
from sidestep.shared.protocol.marker import RunDescription
from sidestep.trainer.adapter_setup import adapter_config
from sidestep.trainer.arguments import checkpointing, training_arguments
from sidestep.trainer.callbacks import DelayCompilation, LogProgress, MemoryCleanup, OverfittingMonitor, StopOnSignal
from sidestep.trainer.config.fields import TrainingConfig
from sidestep.trainer.dataset_loader import TrainingData, load_training_data
from sidestep.trainer.device_plan import DevicePlan, find_device, plan_device
from sidestep.trainer.model_loader import (
    checkpoint_attention_blocks,
    load_base_model,
    load_tokenizer,
    locate_base_model,
)
from sidestep.trainer.objectives import Subject, build_trainer
from sidestep.trainer.publishing.advice import FollowAdvice
from sidestep.trainer.publishing.publisher import PublishCheckpoint
from sidestep.trainer.resume import resume_from
from sidestep.trainer.soft_prompts import adapted_model, save_soft_prompt, train_soft_prompts
from sidestep.trainer.unsloth_path import add_unsloth_adapter, load_with_unsloth

log = get_logger("trainer")

THREADS_VARIABLE = "SIDESTEP_TRAINER_THREADS"


class TrainingInterrupted(SidestepError):
    """Training was asked to stop before its end; a checkpoint was saved."""


@dataclass(frozen=True)
class TrainingResult:
    """What a finished training left behind."""

    model_folder: Path
    steps: int
    train_loss: float


def train(config: TrainingConfig) -> TrainingResult:
    """Train and publish every checkpoint. Raises SidestepError for what the user can correct."""
    _quieten_libraries()
    transformers.set_seed(config.seed)
    if threads := os.environ.get(THREADS_VARIABLE):
        torch.set_num_threads(int(threads))
    plan = plan_device(config, find_device(config.device))
    for line in plan.replaced:
        log.warning("%s", line)
    log.info("training on %s with %s weights", plan.device, plan.dtype)
    locate_base_model(config)  # before the data: a wrong path should be said at once
    tokenizer = load_tokenizer(config)
    data = load_training_data(config, tokenizer)
    if data.steps:
        config = replace(config, max_steps=data.steps)
    model, own_tokenizer = load_with_unsloth(config, plan) if plan.unsloth else load_base_model(config, plan)
    own_tokenizer.chat_template = tokenizer.chat_template
    folder = WeightsFolder(config.output_dir).model(config.base_model_name)
    return _run(config, plan, folder, _prepare_subject(config, plan, model, own_tokenizer), data)


def _quieten_libraries() -> None:
    """Our own lines say what happens; bars and notes of the libraries would bury them."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", message="MatMul8bitLt: inputs will be cast")
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)


def _prepare_subject(
    config: TrainingConfig, plan: DevicePlan, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> Subject:
    """Model and adapter, prepared for training as the device plan says."""
    adapter = adapter_config(config, model)
    reference = None
    if config.method == "dpo" and adapter is None:
        reference, _ = load_base_model(config, plan)
    if plan.quantization != "none" and not plan.unsloth:
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    if checkpointing(config) == "selective":
        blocks = checkpoint_attention_blocks(model, config.gradient_checkpointing_kwargs)
        log.info("recomputing %d attention blocks in the backward pass", blocks)
    if plan.unsloth:
        model, adapter = add_unsloth_adapter(config, model, adapter)
    return Subject(model, tokenizer, adapter, reference)


def _run(
    config: TrainingConfig, plan: DevicePlan, folder: ModelFolder, subject: Subject, data: TrainingData
) -> TrainingResult:
    resume = resume_from(config.resume_checkpoint, folder)
    arguments = training_arguments(config, plan, folder)
    stop = StopOnSignal()
    callbacks = [stop, LogProgress(), MemoryCleanup(), OverfittingMonitor(), *_compilation_callbacks(config, plan)]
    if config.follow_advice != "no":
        callbacks.append(FollowAdvice(stop=config.follow_advice == "stop"))
    trainer = build_trainer(subject, arguments, data, [*callbacks, _build_publisher(config, plan, subject.model)])
    _log_trained_weights(trainer)
    outcome = trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    _raise_if_interrupted(stop, trainer)
    if data.test is not None:
        trainer.evaluate(data.test, metric_key_prefix="test")
    for name in ("final",) if config.adapter_type == "full" else ("final", "adapter"):
        trainer.save_model(str(folder.root / name))
    log.info("training is done after %d steps, loss %.4f", trainer.state.global_step, outcome.training_loss)
    if config.adapter_type == "prompt_tuning":
        save_soft_prompt(trainer.accelerator.unwrap_model(trainer.model), config.soft_prompts[0], folder)
    elif config.soft_prompts:
        adapted = (adapted_model(trainer), subject.tokenizer)
        for after in train_soft_prompts(replace(config, output_dir=folder.root), plan, adapted, data, callbacks):
            _raise_if_interrupted(stop, after)
    return TrainingResult(folder.root, trainer.state.global_step, outcome.training_loss)


def _raise_if_interrupted(stop: StopOnSignal, trainer: Trainer) -> None:
    if stop.requested and trainer.state.global_step < trainer.state.max_steps:
        raise TrainingInterrupted(
            f"training was stopped at step {trainer.state.global_step} of {trainer.state.max_steps}",
            hint="--resume latest goes on from there",
        )


def _compilation_callbacks(config: TrainingConfig, plan: DevicePlan) -> list[TrainerCallback]:
    steps = config.cuda_graph_warmup_steps or 0
    return [DelayCompilation(steps)] if plan.cuda_graphs and steps else []


def _log_trained_weights(trainer: Trainer) -> None:
    parameters = list(trainer.model.parameters())
    trained = sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
    total = sum(parameter.numel() for parameter in parameters)
    log.info("training %s of %s weights", f"{trained:,}", f"{total:,}")


def _build_publisher(config: TrainingConfig, plan: DevicePlan, model: PreTrainedModel) -> PublishCheckpoint:
    return PublishCheckpoint(
        RunDescription(
            expert_name=config.expert_name,
            expert_version=config.expert_version,
            base_model=config.base_model_location,
            base_revision=getattr(model.config, "_commit_hash", None),
            adapter_type=config.adapter_type,
            dtype=plan.dtype,
            prompt_template=config.prompt_template,
        )
    )
