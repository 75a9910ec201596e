"""All data of one training: which rows are learnt, validated and tested on, as the Trainer takes them.

For method sft that is ``input_ids`` and ``labels``, tokenized here, so that every row that is left out or shortened is
known and said; for dpo it is ``prompt``, ``chosen`` and ``rejected``, which TRL's DPOTrainer tokenizes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
from transformers import PreTrainedTokenizerBase

from sidestep.shared.chat_templates import template_named
from sidestep.shared.errors import DatasetError
from sidestep.shared.logs import get_logger
from sidestep.trainer.config.data_options import (
    fingerprint_fields,
    ineffective_options,
    is_multi_task,
    multi_task_options,
    row_shape,
)
from sidestep.trainer.config.fields import TrainingConfig
from sidestep.trainer.data.multi_task import load_tasks
from sidestep.trainer.data.preparation import Preparation
from sidestep.trainer.data.pretokenized import Parts, load_or_build, read_pretokenized, tokenizer_fingerprint
from sidestep.trainer.data.report import RowReport
from sidestep.trainer.data.sources import Saved, Source, open_source
from sidestep.trainer.data.split import split_off
from sidestep.trainer.data.streaming import open_stream

log = get_logger("trainer.data")


@dataclass(frozen=True)
class TrainingData:
    """What the Trainer is given. ``steps`` is set for streams only: the optimizer steps that the epochs come to."""

    train: datasets.Dataset | datasets.IterableDataset
    validation: datasets.Dataset | None = None
    test: datasets.Dataset | None = None
    steps: int | None = None


def load_training_data(config: TrainingConfig, tokenizer: PreTrainedTokenizerBase) -> TrainingData:
    """Training, validation and test data. Raises DatasetError that says which file and what is wrong with it."""
    datasets.disable_caching()  # else preparing a data set from disk writes beside it
    for line in ineffective_options(config):
        log.warning("%s", line)
    if config.prompt_template and tokenizer.chat_template != template_named(config.prompt_template):
        log.info("the base model's own chat template is used, not prompt_template %s", config.prompt_template)
    preparation = Preparation(row_shape(config), tokenizer, config.max_seq_length)
    if config.streaming:
        return _load_stream(config, preparation)
    if config.pretokenized_cache and not _is_pretokenized(config):
        made_from = {
            "tokenizer": tokenizer_fingerprint(tokenizer),
            "template": tokenizer.chat_template,
            "data": _identities(config),
            **fingerprint_fields(config),
        }
        cache = Path(config.pretokenized_cache).expanduser()
        parts = load_or_build(cache, made_from, lambda: _load_parts(config, preparation))
    else:
        parts = _load_parts(config, preparation)
    return TrainingData(parts["train"], parts.get("validation"), parts.get("test"))


def _load_parts(config: TrainingConfig, preparation: Preparation) -> Parts:
    """All parts that this training needs, by name."""
    if is_multi_task(config):
        train, validation, test = load_tasks(config, multi_task_options(config), preparation)
        found = {"train": train, "validation": validation, "test": test}
        return {name: data for name, data in found.items() if data is not None}
    parts = {"train": _load(config, preparation, config.dataset_path)}
    if config.evaluation_strategy == "no":
        pass
    elif config.validation_path:
        parts["validation"] = _load(config, preparation, config.validation_path)
    else:
        parts["train"], parts["validation"] = split_off(parts["train"], config.validation_rows, config.dataset_path)
        log.info("%d rows are split off for validation, %d are left for training",
                 len(parts["validation"]), len(parts["train"]))  # fmt: skip
    if config.test_path:
        parts["test"] = _load(config, preparation, config.test_path)
    return parts


def _load(config: TrainingConfig, preparation: Preparation, path: str) -> datasets.Dataset:
    """One data set in memory. Raises DatasetError."""
    source = _open(config, path)
    if config.use_pretokenized and (isinstance(source, Saved) or not config.pretokenized_cache):
        if not isinstance(source, Saved):
            raise DatasetError(
                f"{path} is not a pre-tokenized folder", hint="it must be one that datasets' save_to_disk wrote"
            )
        return read_pretokenized(source.data, path, config.max_seq_length, len(preparation.tokenizer))
    return preparation.load(source.rows(streaming=False), RowReport(path))


def _is_pretokenized(config: TrainingConfig) -> bool:
    return config.use_pretokenized and isinstance(_open(config, config.dataset_path), Saved)


def _open(config: TrainingConfig, path: str) -> Source:
    return open_source(path, format_name=config.format, hub=config.dataset_type == "huggingface")


def _load_stream(config: TrainingConfig, preparation: Preparation) -> TrainingData:
    """A stream for training; validation and test data are small and loaded."""
    wanted = config.evaluation_strategy != "no"
    validation = _load(config, preparation, config.validation_path) if wanted and config.validation_path else None
    split = wanted and validation is None
    stream = open_stream(config, _open(config, config.dataset_path), preparation, split=split)
    test = _load(config, preparation, config.test_path) if config.test_path else None
    return TrainingData(stream.train, stream.validation if split else validation, test, stream.steps)


def _identities(config: TrainingConfig) -> dict[str, Any]:
    """What the data consists of now: the content of every file that is read."""
    if is_multi_task(config):
        paths = {
            f"{name} {part}": path
            for name, task in multi_task_options(config).tasks.items()
            for part, path in (("train", task.train), ("valid", task.valid), ("test", task.test))
        }
    else:
        paths = {"train": config.dataset_path, "validation": config.validation_path, "test": config.test_path}
    return {part: _open(config, path).identity() for part, path in paths.items() if path}
