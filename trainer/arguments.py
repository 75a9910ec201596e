"""transformers' and TRL's arguments for a configuration on a device: every option that they take, in one place."""

from __future__ import annotations

from typing import Any

import torch
from accelerate.utils import DynamoBackend
from transformers import Trainer, TrainingArguments, get_scheduler
from trl import DPOConfig, SFTConfig

from sidestep.shared.errors import ConfigError
from sidestep.shared.logs import get_logger
from sidestep.shared.protocol.layout import ModelFolder
from sidestep.trainer.config.fields import TrainingConfig
from sidestep.trainer.device_plan import DevicePlan

log = get_logger("trainer")


def training_arguments(config: TrainingConfig, plan: DevicePlan, folder: ModelFolder) -> TrainingArguments:
    """Arguments of TRL's trainer for ``config.method``. Raises ConfigError for values that the libraries refuse."""
    options = (
        _length(config)
        | _loading(config, plan)
        | _precision(config, plan)
        | _saving(config)
        | {"output_dir": str(folder.root), "report_to": [], "disable_tqdm": True}
    )
    try:
        arguments = _for_method(config, plan, options)
        Trainer.get_optimizer_cls_and_kwargs(arguments)
        _try_schedule(arguments)
        if arguments.torch_compile:
            DynamoBackend(str(arguments.torch_compile_backend).upper())
    except (ValueError, TypeError, KeyError, ImportError) as error:
        raise ConfigError(f"an option of the training is refused: {_first_line(error)}") from error
    return arguments


def checkpointing(config: TrainingConfig) -> bool | str:
    """Gradient checkpointing from both spellings; the narrower one wins. Pure."""
    if config.gradient_checkpointing == "selective" or config.activation_checkpointing == "attention_only":
        return "selective"
    return config.gradient_checkpointing or config.activation_checkpointing == "full"


def _for_method(config: TrainingConfig, plan: DevicePlan, options: dict[str, Any]) -> TrainingArguments:
    options["max_length"] = config.max_seq_length
    if plan.cuda_graphs:  # a graph is of one shape
        options["pad_to_multiple_of"] = config.max_seq_length
    if config.method == "dpo":
        return DPOConfig(**options)
    # TRL's chunked loss reads the output layer's own weight, past an adapter on it (objectives.OutputLayerTrainer).
    loss = {"loss_type": "nll"} if "lm_head" in config.target_modules else {}
    return SFTConfig(**options, **loss, packing=plan.packing, completion_only_loss=True)


def _length(config: TrainingConfig) -> dict[str, Any]:
    return {
        "num_train_epochs": config.epochs,
        "max_steps": config.max_steps or -1,
        "per_device_train_batch_size": config.batch_size,
        "per_device_eval_batch_size": config.batch_size,
        "gradient_accumulation_steps": config.gradient_accumulation_steps,
        "learning_rate": config.learning_rate,
        "lr_scheduler_type": config.lr_scheduler,
        "lr_scheduler_kwargs": config.lr_scheduler_kwargs or {},
        "warmup_steps": config.warmup_steps or config.warmup_ratio,
        "seed": config.seed,
    }


def _loading(config: TrainingConfig, plan: DevicePlan) -> dict[str, Any]:
    workers = config.dataloader_num_workers
    return {
        "train_sampling_strategy": "group_by_length" if config.group_by_length else "random",
        "dataloader_num_workers": workers,
        "dataloader_pin_memory": plan.pin_memory,
        "dataloader_prefetch_factor": config.dataloader_prefetch_factor if workers else None,
        "dataloader_persistent_workers": config.dataloader_persistent_workers and workers > 0,
    }


def _precision(config: TrainingConfig, plan: DevicePlan) -> dict[str, Any]:
    return {
        "optim": plan.optim,
        "bf16": plan.autocast == "bf16",
        "fp16": plan.autocast == "fp16",
        "tf32": True if plan.tf32 else None,
        "use_cpu": plan.device == "cpu",
        "gradient_checkpointing": checkpointing(config) is True,
        "gradient_checkpointing_kwargs": config.gradient_checkpointing_kwargs,
        "torch_compile": plan.compile,
        "torch_compile_backend": config.torch_compile_backend if plan.compile else None,
        "torch_compile_mode": plan.compile_mode,
    }


def _saving(config: TrainingConfig) -> dict[str, Any]:
    return {
        "save_strategy": config.save_strategy,
        "save_steps": config.save_steps,
        "save_total_limit": config.save_total_limit,
        "load_best_model_at_end": config.load_best_model_at_end,
        "metric_for_best_model": config.metric_for_best_model,
        "greater_is_better": config.greater_is_better,
        "logging_steps": config.logging_steps,
        "eval_strategy": config.evaluation_strategy,
        "eval_steps": _evaluation_steps(config),
    }


def _evaluation_steps(config: TrainingConfig) -> int:
    """Steps between validations. The best model can only be known where every save has one."""
    steps = config.eval_steps or config.save_steps
    if config.load_best_model_at_end and config.evaluation_strategy == "steps" and config.save_steps % steps:
        log.warning(
            "eval_steps %d is replaced by %d: load_best_model_at_end needs one at every save", steps, config.save_steps
        )
        return config.save_steps
    return steps


def _try_schedule(arguments: TrainingArguments) -> None:
    """Build the schedule once for nothing: its arguments are only looked at when training begins."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=arguments.learning_rate)
    get_scheduler(
        arguments.lr_scheduler_type,
        optimizer,
        num_warmup_steps=arguments.get_warmup_steps(100),
        num_training_steps=100,
        scheduler_specific_kwargs=dict(arguments.lr_scheduler_kwargs or {}),
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
