"""What a training is told: every field of the host's contract, with unit and default, validated where it lives."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import ConfigDict, TypeAdapter, ValidationError

from sidestep.shared.errors import ConfigError
from sidestep.trainer.config_checks import MEANINGLESS, check_consistency

AdapterType = Literal["lora", "dora", "ia3", "lokr", "prompt_tuning", "full"]
Quantization = Literal["int4", "int8", "none"]
Strategy = Literal["no", "steps", "epoch"]


@dataclass(frozen=True)
class SoftPrompt:
    """One soft prompt of the manifest: vectors in front of every input, learnt instead of written."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    name: str
    """What it is called."""
    tokens: int
    """How many vectors (virtual tokens) it has."""
    init_method: Literal["random", "text"] = "random"
    """Where they start: random vectors, or the embeddings of init_text."""
    init_text: str | None = None
    """The text whose embeddings they start from; repeated or cut to fit."""
    path: str | None = None
    """Where it is saved below the model's folder, as safetensors; default: soft_prompts/<name>.safetensors."""


@dataclass(frozen=True)
class TrainingConfig:
    """One training. ``None`` means: not given, take the library's or the method's own default."""

    __pydantic_config__ = ConfigDict(extra="forbid", protected_namespaces=())

    # What and where
    base_model_name: str
    """Base model as the manifest names it: hub id or path; its last part names the folder below output_dir."""
    output_dir: Path
    """Weights folder of the expert; checkpoints go to output_dir/<model-dir>/checkpoint-<step>."""
    dataset_path: str
    """Training data: a local file or folder, or a hub id, optionally name::split::config."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    quantization: Quantization = "none"
    """Precision of the frozen base weights: int4, int8 or none."""
    method: Literal["sft", "dpo"] = "sft"
    """Objective: sft learns the answers, dpo to prefer the chosen ones to the rejected (TRL's DPOTrainer)."""
    base_model_path: str | None = None
    """Where the base model is on this machine, when base_model_name is not it (--base-model)."""
    expert_name: str = "unknown"
    """Name from the manifest; goes into markers and reports."""
    expert_version: str = "unknown"
    """Version from the manifest."""
    allow_unquantized: bool = False
    """Train without quantization where the device cannot quantize; this changes results."""

    # Adapter
    adapter_type: AdapterType = "lora"
    """Kind of adapter; prompt_tuning trains one soft prompt alone, full trains every weight and has no adapter."""
    target_modules: tuple[str, ...] = ()
    """Names of the linear layers that get an adapter; "all-linear" means all but the output layer."""
    rank: int | None = None
    """Rank of the adapter; required for lora, dora and lokr, the others have none."""
    alpha: float | None = None
    """Scaling numerator of the adapter; required for lora, dora and lokr."""
    dropout: float = 0.0
    """Dropout on the adapter's input (lora, dora) or its rank dimension (lokr), 0..1; the others have none."""
    feedforward_modules: tuple[str, ...] | None = None
    """ia3 only: which target modules scale their input instead of their output."""
    soft_prompts: tuple[SoftPrompt, ...] = ()
    """Soft prompts; beside an adapter, each is trained after it, on top of it, for as many steps again."""

    # Length of training
    epochs: float = 1.0
    """Passes over the data; may be fractional."""
    max_steps: int | None = None
    """Optimizer steps; overrides epochs."""
    batch_size: int = 1
    """Rows per device and forward pass."""
    gradient_accumulation_steps: int = 1
    """Forward passes per optimizer step."""
    learning_rate: float = 2e-4
    """Peak learning rate."""
    lr_scheduler: str = "linear"
    """Schedule by its transformers name."""
    lr_scheduler_kwargs: dict[str, Any] | None = None
    """Arguments of the schedule."""
    warmup_steps: int = 0
    """Steps of linear warm-up; when 0, warmup_ratio counts."""
    warmup_ratio: float = 0.0
    """Part of all steps spent on warm-up, 0..1."""
    optim: str = "adamw_torch"
    """Optimizer by its transformers name."""
    seed: int = 42
    """Seed of data order, dropout and adapter initialisation."""

    # Data
    validation_path: str | None = None
    """Validation data; without it, and with evaluation on, a part of the training data is split off."""
    test_path: str | None = None
    """Test data; its loss is computed once, at the end."""
    format: str | None = None
    """File format of dataset_path (json, jsonl, csv, parquet) where its suffix does not tell."""
    text_field: str | None = None
    """Column that holds the whole conversation as text, or plain text that is learnt as a whole."""
    field_mapping: dict[str, str] | None = None
    """Which column plays which role: {"instruction": "question", "output": "sql"}."""
    prompt_template: str | None = None
    """Template for models that bring no chat template: chatml, alpaca, qwen3, llama, mistral, phi or deepseek."""
    max_seq_length: int = 1024
    """Longest row in tokens; longer ones are cut at the end."""
    validation_rows: int = 100
    """At most this many rows are split off for validation (10 % otherwise), so that evaluation stays affordable."""
    packing: bool = False
    """Several rows in one sequence, each attending to itself only; not with prompt_tuning or dpo."""
    group_by_length: bool = False
    """Batches of rows of similar length."""
    streaming: bool = False
    """Read the data as it is needed instead of loading it."""
    max_in_memory_samples: int | None = None
    """Streaming only: rows kept for shuffling; default 1000."""
    use_pretokenized: bool = False
    """dataset_path is a folder that datasets' save_to_disk wrote, already tokenized."""
    pretokenized_cache: str | None = None
    """Folder for the tokenized data, written at first use; used again only for the same data and settings."""
    dataset_type: Literal["single", "huggingface", "multi_task"] = "single"
    """One data set, a hub data set, or several tasks."""
    multi_task_config: dict[str, Any] | None = None
    """Tasks, weights and validation of a multi_task data set."""
    dataloader_num_workers: int = 0
    """Processes that load data."""
    dataloader_pin_memory: bool = True
    """Page-locked host memory for faster copies to a GPU."""
    dataloader_prefetch_factor: int | None = None
    """Batches each loading process prepares ahead; without effect when dataloader_num_workers is 0."""
    dataloader_persistent_workers: bool = False
    """Keep the loading processes between epochs; without effect when dataloader_num_workers is 0."""

    # Precision and speed
    fp16: bool = False
    """Train in float16 (CUDA only); with full, the weights stay float32 and products run in float16."""
    bf16: bool = False
    """Train in bfloat16 where the device computes it fast; with full, only the products."""
    use_tf32: bool = False
    """TensorFloat-32 for float32 products (CUDA, Ampere or newer)."""
    use_sdpa: bool = True
    """PyTorch's fused attention; false takes the plain one."""
    flash_attention_2: bool = False
    """The flash-attn package's attention (CUDA only)."""
    memory_efficient_attention: bool = False
    """Memory-efficient attention; part of PyTorch's fused attention."""
    gradient_checkpointing: bool | Literal["selective"] = False
    """Recompute activations in the backward pass: all layers, or attention blocks only ("selective")."""
    gradient_checkpointing_kwargs: dict[str, Any] | None = None
    """Arguments of torch.utils.checkpoint."""
    activation_checkpointing: Literal["none", "attention_only", "full"] | None = None
    """Other spelling of gradient_checkpointing; attention_only means "selective"."""
    torch_compile: bool = False
    """Compile the model; inductor, the default backend, needs a GPU or a C++ compiler."""
    torch_compile_backend: str | None = None
    """Backend of torch.compile; with torch_compile."""
    torch_compile_mode: str | None = None
    """Mode of torch.compile; with torch_compile."""
    use_cuda_graphs: bool = False
    """Replay recorded CUDA graphs: torch.compile in mode reduce-overhead, rows padded to max_seq_length (CUDA only)."""
    cuda_graph_warmup_steps: int | None = None
    """Optimizer steps before compiling and recording begins; with use_cuda_graphs."""
    use_unsloth: bool = False
    """Train through Unsloth where it is installed and the device is a GPU."""

    # Saving, evaluating, logging
    save_strategy: Strategy = "steps"
    """When checkpoints are saved."""
    save_steps: int = 500
    """Steps between checkpoints."""
    save_total_limit: int | None = None
    """Checkpoints kept on disk; rotated ones are evaluated nevertheless."""
    evaluation_strategy: Strategy = "no"
    """When the validation loss is computed."""
    eval_steps: int | None = None
    """Steps between validations; default: save_steps."""
    follow_advice: Literal["no", "keep", "stop"] = "no"
    """What the evaluator's advice does, where there is any: `keep` spares the checkpoint that it found best from
    save_total_limit, `stop` also ends training when it suggests so. Training never waits for it."""
    load_best_model_at_end: bool = False
    """Finish with the checkpoint of the best metric instead of the last one."""
    metric_for_best_model: str | None = None
    """Metric that decides which checkpoint is best; default: loss on the validation data."""
    greater_is_better: bool | None = None
    """Direction of that metric; default: by its name."""
    logging_steps: int = 10
    """Steps between log lines."""
    resume_checkpoint: str | None = None
    """Checkpoint folder to go on from; "latest" takes the newest complete one."""

    @property
    def base_model_location(self) -> str:
        """Where to load the base model from."""
        return self.base_model_path or self.base_model_name


FIELD_NAMES = tuple(field.name for field in fields(TrainingConfig))
REQUIRED = ("base_model_name", "output_dir", "dataset_path", "adapter_type", "epochs", "learning_rate", "batch_size",
            "gradient_accumulation_steps", "lr_scheduler")  # fmt: skip

_configs = TypeAdapter(TrainingConfig)


def build_config(values: dict[str, Any], where: str) -> TrainingConfig:
    """A validated configuration; None means absent. Raises ConfigError: ``where``, the field, and what is wrong."""
    values = {name: value for name, value in values.items() if value is not None}
    if isinstance(values.get("target_modules"), str):
        values["target_modules"] = (values["target_modules"],)
    missing = [name for name in REQUIRED if name not in values]
    if missing:
        raise ConfigError(
            f"{where}: the field '{missing[0]}' is missing", hint=f"add it; required are {', '.join(REQUIRED)}"
        )
    if values["adapter_type"] not in get_args(AdapterType):
        raise ConfigError(
            f"{where}: unknown adapter type {values['adapter_type']!r}",
            hint=f"known are {', '.join(get_args(AdapterType))}",
        )
    try:
        config = _configs.validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        raise ConfigError(f"{where}: {name} = {first['input']!r} is wrong: {first['msg']}") from error
    check_consistency(config, where)
    return config


def with_overrides(config: TrainingConfig, overrides: dict[str, Any], where: str = "command line") -> TrainingConfig:
    """The configuration with some fields replaced. Raises ConfigError that suggests near names for unknown ones.

    With another adapter_type, fields that it has no use for (a rank for ia3) go back to their defaults.
    """
    for name in overrides:
        if name not in FIELD_NAMES:
            near = difflib.get_close_matches(name, FIELD_NAMES, 3)
            hint = f"did you mean {' or '.join(near)}?" if near else "docs/configuration.md lists all fields"
            raise ConfigError(f"{where}: there is no field '{name}'", hint=hint)
    current = {field_name: getattr(config, field_name) for field_name in FIELD_NAMES}
    if overrides.get("adapter_type", config.adapter_type) != config.adapter_type:
        for name in MEANINGLESS.get(overrides["adapter_type"], ()):
            del current[name]
    return build_config({**current, **overrides}, where)
