"""One training from configuration to final adapter: TRL's SFTTrainer, our data, our publisher."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import torch
import transformers
from peft import PeftConfig, prepare_model_for_kbit_training
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl import SFTConfig, SFTTrainer

from shared.chat_templates import template_named
from shared.checkpoint import IncompleteCheckpoint, check_complete
from shared.errors import ConfigError, DatasetError, SidestepError
from shared.layout import ModelFolder, WeightsFolder, checkpoint_step
from shared.logs import get_logger
from trainer.adapter_setup import adapter_config
from trainer.callbacks import LogProgress, MemoryCleanup, OverfittingMonitor, StopOnSignal
from trainer.config import TrainingConfig
from trainer.dataset_loader import TrainingData, load_training_data
from trainer.device_plan import DevicePlan, find_device, plan_device
from trainer.model_loader import checkpoint_attention_blocks, load_base_model, locate_base_model
from trainer.publisher import PublishCheckpoint, RunDescription

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
    """Train and publish every checkpoint. Raises SidestepError for what the user can mend."""
    _quieten_libraries()
    transformers.set_seed(config.seed)
    if threads := os.environ.get(THREADS_VARIABLE):
        torch.set_num_threads(int(threads))
    plan = plan_device(config, find_device(config.device))
    for line in plan.replaced:
        log.warning("%s", line)
    log.info("training on %s with %s weights", plan.device, plan.dtype)
    locate_base_model(config)  # before the data: a wrong path should be said at once
    data = load_training_data(config)
    model, tokenizer = load_base_model(config, plan)
    if tokenizer.chat_template is None:
        tokenizer.chat_template = template_named(config.prompt_template or "chatml")
    folder = WeightsFolder(config.output_dir).model(config.base_model_name)
    resume = _resume_from(config, folder)
    return _run(config, plan, folder, (model, tokenizer), data, resume)


def _quieten_libraries() -> None:
    """Our own lines say what happens; bars and notes of the libraries would bury them."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    warnings.filterwarnings("ignore", category=FutureWarning)


def _run(
    config: TrainingConfig,
    plan: DevicePlan,
    folder: ModelFolder,
    base: tuple[PreTrainedModel, PreTrainedTokenizerBase],
    data: TrainingData,
    resume: Path | None,
) -> TrainingResult:
    model, tokenizer = base
    adapter = adapter_config(config, model)
    model = _prepare(config, plan, model)
    stop = StopOnSignal()
    trainer = SFTTrainer(
        model=model,
        args=training_arguments(config, plan, folder),
        train_dataset=data.train,
        eval_dataset=data.validation,
        processing_class=tokenizer,
        peft_config=adapter,
        callbacks=[
            stop,
            LogProgress(),
            MemoryCleanup(),
            OverfittingMonitor(),
            _publisher(config, plan, model, adapter),
        ],
    )
    trainer.remove_callback(transformers.PrinterCallback)
    if not len(trainer.train_dataset):
        raise DatasetError(
            f"max_seq_length {config.max_seq_length} cuts the answer off every row", hint="raise max_seq_length"
        )
    outcome = trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    if stop.requested and trainer.state.global_step < trainer.state.max_steps:
        raise TrainingInterrupted(
            f"training was stopped at step {trainer.state.global_step} of {trainer.state.max_steps}",
            hint="--resume latest goes on from there",
        )
    if data.test is not None:
        trainer.evaluate(trainer._prepare_dataset(data.test, tokenizer, trainer.args, False, None, "test"),
                         metric_key_prefix="test")  # fmt: skip
    for name in ("final", "adapter"):
        trainer.save_model(str(folder.root / name))
    log.info("training is done after %d steps, loss %.4f", trainer.state.global_step, outcome.training_loss)
    return TrainingResult(folder.root, trainer.state.global_step, outcome.training_loss)


def _prepare(config: TrainingConfig, plan: DevicePlan, model: PreTrainedModel) -> PreTrainedModel:
    if plan.quantization != "none":
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    if checkpointing(config) == "selective":
        log.info("recomputing %d attention blocks in the backward pass", checkpoint_attention_blocks(model))
    return model


def checkpointing(config: TrainingConfig) -> bool | str:
    """Gradient checkpointing from both spellings; the narrower one wins. Pure."""
    if config.gradient_checkpointing == "selective" or config.activation_checkpointing == "attention_only":
        return "selective"
    return config.gradient_checkpointing or config.activation_checkpointing == "full"


def training_arguments(config: TrainingConfig, plan: DevicePlan, folder: ModelFolder) -> SFTConfig:
    """transformers' arguments for this configuration on this device."""
    workers = config.dataloader_num_workers
    return SFTConfig(
        output_dir=str(folder.root),
        num_train_epochs=config.epochs,
        max_steps=config.max_steps or -1,
        per_device_train_batch_size=config.batch_size,
        per_device_eval_batch_size=config.batch_size,
        gradient_accumulation_steps=config.gradient_accumulation_steps,
        learning_rate=config.learning_rate,
        lr_scheduler_type=config.lr_scheduler,
        lr_scheduler_kwargs=config.lr_scheduler_kwargs or {},
        warmup_steps=config.warmup_steps or config.warmup_ratio,
        optim=plan.optim,
        seed=config.seed,
        max_length=config.max_seq_length,
        packing=plan.packing,
        completion_only_loss=True,
        train_sampling_strategy="group_by_length" if config.group_by_length else "random",
        dataloader_num_workers=workers,
        dataloader_pin_memory=plan.pin_memory,
        dataloader_prefetch_factor=config.dataloader_prefetch_factor if workers else None,
        dataloader_persistent_workers=config.dataloader_persistent_workers and workers > 0,
        bf16=plan.autocast == "bf16",
        fp16=plan.autocast == "fp16",
        tf32=True if plan.tf32 else None,
        use_cpu=plan.device == "cpu",
        gradient_checkpointing=checkpointing(config) is True,
        gradient_checkpointing_kwargs=config.gradient_checkpointing_kwargs,
        torch_compile=plan.compile,
        torch_compile_backend=config.torch_compile_backend if plan.compile else None,
        torch_compile_mode=config.torch_compile_mode if plan.compile else None,
        save_strategy=config.save_strategy,
        save_steps=config.save_steps,
        save_total_limit=config.save_total_limit,
        load_best_model_at_end=config.load_best_model_at_end,
        metric_for_best_model=config.metric_for_best_model,
        greater_is_better=config.greater_is_better,
        logging_steps=config.logging_steps,
        report_to=[],
        disable_tqdm=True,
        **_evaluation(config),
    )


def _evaluation(config: TrainingConfig) -> dict[str, Any]:
    """When the validation loss is computed. The best model can only be known where every save has a validation."""
    steps = config.eval_steps or config.save_steps
    if config.load_best_model_at_end and config.evaluation_strategy == "steps" and config.save_steps % steps:
        log.warning(
            "eval_steps %d is replaced by %d: load_best_model_at_end needs one at every save", steps, config.save_steps
        )
        steps = config.save_steps
    return {"eval_strategy": config.evaluation_strategy, "eval_steps": steps}


def _publisher(
    config: TrainingConfig, plan: DevicePlan, model: PreTrainedModel, adapter: PeftConfig
) -> PublishCheckpoint:
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


def _resume_from(config: TrainingConfig, folder: ModelFolder) -> Path | None:
    """The checkpoint to go on from. Raises ConfigError when the named one is not complete."""
    if config.resume_checkpoint is None:
        return None
    if config.resume_checkpoint != "latest":
        path = Path(config.resume_checkpoint)
        try:
            check_complete(path)
        except (IncompleteCheckpoint, OSError) as error:
            raise ConfigError(
                f"cannot resume from {path}: {error}", hint="name a complete checkpoint, or latest"
            ) from error
        return path
    for step in sorted(_steps(folder), reverse=True):
        try:
            check_complete(folder.checkpoint(step))
        except (IncompleteCheckpoint, OSError) as error:
            log.warning("%s is passed over: %s", folder.checkpoint(step), error)
        else:
            return folder.checkpoint(step)
    log.warning("no complete checkpoint in %s: training starts anew", folder.root)
    return None


def _steps(folder: ModelFolder) -> list[int]:
    if not folder.root.is_dir():
        return []
    steps = (checkpoint_step(path.name) for path in folder.root.iterdir())
    return [step for step in steps if step is not None]
