"""Contradictions between fields of a configuration: each is refused with its reason and what to change."""

from __future__ import annotations

from pathlib import PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING

from sidestep.shared.errors import ConfigError
from sidestep.trainer.data.options import check_data_options

if TYPE_CHECKING:
    from sidestep.trainer.config import TrainingConfig

RANKED = ("lora", "dora", "lokr")
# What each kind of training has no use for: given nevertheless, it would be read and dropped.
MEANINGLESS = {
    "lora": ("feedforward_modules",),
    "dora": ("feedforward_modules",),
    "lokr": ("feedforward_modules",),
    "ia3": ("rank", "alpha", "dropout"),
    "prompt_tuning": ("rank", "alpha", "dropout", "target_modules", "feedforward_modules"),
    "full": ("rank", "alpha", "dropout", "target_modules", "feedforward_modules"),
}
_AT_LEAST_ONE = (
    "batch_size", "gradient_accumulation_steps", "save_steps", "logging_steps", "max_seq_length", "rank",
    "max_steps", "eval_steps", "save_total_limit", "validation_rows",
)  # fmt: skip


def check_consistency(config: TrainingConfig, where: str) -> None:
    """Raises ConfigError that names ``where``, the fields and the remedy."""
    _check_adapter(config, where)
    _check_soft_prompts(config, where)
    _check_numbers(config, where)
    _check_saving(config, where)
    if config.fp16 and config.bf16:
        raise ConfigError(f"{where}: fp16 and bf16 are both true", hint="choose one")
    check_data_options(config, where)


def _check_adapter(config: TrainingConfig, where: str) -> None:
    kind = config.adapter_type
    for name in ("rank", "alpha") if kind in RANKED else ():
        if getattr(config, name) is None:
            raise ConfigError(f"{where}: the field '{name}' is missing", hint=f"{kind} needs it")
    if kind in (*RANKED, "ia3") and not config.target_modules:
        raise ConfigError(
            f"{where}: the field 'target_modules' is missing or empty", hint='name linear layers: ["q_proj"]'
        )
    given = [name for name in MEANINGLESS[kind] if getattr(config, name)]
    if given:
        raise ConfigError(
            f"{where}: {', '.join(given)} {'has' if len(given) == 1 else 'have'} no meaning for {kind}",
            hint="remove it, or choose another adapter_type" if len(given) == 1 else "remove them",
        )
    if stray := sorted(set(config.feedforward_modules or ()) - set(config.target_modules)):
        raise ConfigError(
            f"{where}: feedforward_modules names {', '.join(stray)}, which target_modules does not",
            hint="name it in both",
        )
    if kind == "lokr" and config.quantization == "int4":
        raise ConfigError(
            f"{where}: adapter_type lokr and quantization int4 exclude each other",
            hint="PEFT's LoKr cannot read 4-bit weights: set quantization to int8 or none, or train lora or dora",
        )
    if kind == "full" and config.quantization != "none":
        raise ConfigError(
            f"{where}: quantization {config.quantization} and adapter_type full exclude each other",
            hint="quantized weights cannot be trained: set quantization to none, or train an adapter",
        )


def _check_soft_prompts(config: TrainingConfig, where: str) -> None:
    prompts = config.soft_prompts
    if config.adapter_type == "prompt_tuning" and len(prompts) != 1:
        raise ConfigError(
            f"{where}: prompt_tuning trains one soft prompt, and soft_prompts has {len(prompts)}",
            hint="a checkpoint holds one: leave one in soft_prompts, or train them beside an adapter",
        )
    if prompts and config.method == "dpo":
        raise ConfigError(
            f"{where}: soft_prompts cannot be trained with dpo",
            hint="TRL's DPOTrainer does not take their virtual tokens into account: use method sft",
        )
    names = [prompt.name for prompt in prompts]
    for prompt in prompts:
        if names.count(prompt.name) > 1:
            raise ConfigError(f"{where}: two soft_prompts are called {prompt.name!r}", hint="rename one")
        if prompt.tokens < 1:
            raise ConfigError(f"{where}: soft prompt {prompt.name}: tokens = {prompt.tokens} must be at least 1")
        if prompt.init_method == "text" and not (prompt.init_text or "").strip():
            raise ConfigError(
                f"{where}: soft prompt {prompt.name}: init_method text needs init_text", hint="or use random"
            )
        if prompt.init_method == "random" and prompt.init_text:
            raise ConfigError(
                f"{where}: soft prompt {prompt.name}: init_text has no effect with init_method random",
                hint="set init_method to text, or remove init_text",
            )
        if not _is_inside(prompt.path or prompt.name):
            raise ConfigError(
                f"{where}: soft prompt {prompt.name}: {prompt.path or prompt.name!r} leads out of the model's folder",
                hint="give a relative path without ..",
            )


def _is_inside(path: str) -> bool:
    return all(
        not reading.is_absolute() and not reading.drive and ".." not in reading.parts and reading.name
        for reading in (PurePosixPath(path), PureWindowsPath(path))
    )


def _check_numbers(config: TrainingConfig, where: str) -> None:
    for name in _AT_LEAST_ONE:
        value = getattr(config, name)
        if value is not None and value < 1:
            raise ConfigError(f"{where}: {name} = {value} must be at least 1")
    for name in ("dropout", "warmup_ratio"):
        if not 0 <= getattr(config, name) < 1:
            raise ConfigError(f"{where}: {name} = {getattr(config, name)} must be at least 0 and less than 1")
    for name in ("warmup_steps", "learning_rate", "epochs", "dataloader_num_workers"):
        if getattr(config, name) < 0:
            raise ConfigError(f"{where}: {name} = {getattr(config, name)} must not be negative")


def _check_saving(config: TrainingConfig, where: str) -> None:
    if not config.load_best_model_at_end:
        return
    if config.save_strategy != config.evaluation_strategy or config.save_strategy == "no":
        raise ConfigError(
            f"{where}: load_best_model_at_end needs a validation at every save, but save_strategy is "
            f"{config.save_strategy} and evaluation_strategy {config.evaluation_strategy}",
            hint="set both to steps, or both to epoch",
        )
