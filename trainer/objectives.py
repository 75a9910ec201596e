"""The trainer for each objective: TRL's SFTTrainer for answers, its DPOTrainer for preferences."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import transformers
from peft import PeftConfig
from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer, TrainerCallback, TrainingArguments
from trl import DPOConfig, DPOTrainer, SFTTrainer

from sidestep.shared.errors import ConfigError, DatasetError
from sidestep.trainer.dataset_loader import TrainingData


@dataclass(frozen=True)
class Subject:
    """What is trained: a model, its tokenizer, and the adapter that is put on it (None: the model as it is)."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    adapter: PeftConfig | None = None
    reference: PreTrainedModel | None = None
    """dpo without an adapter: a second copy to compare with. With one, the adapter is switched off for that."""


OUTPUT_LAYER = "lm_head"


class OutputLayerTrainer(SFTTrainer):
    """Trains an adapter on the output layer, by the model's own loss.

    TRL's losses multiply by the layer's own weight, past an adapter on it; since 1.16 it refuses one for that reason.
    """

    def __init__(self, **options: Any) -> None:
        with _hide_adapter_on_output(options["model"]):
            super().__init__(**options)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        inputs["use_cache"] = False
        return Trainer.compute_loss(self, model, inputs, return_outputs, num_items_in_batch)

    def prediction_step(self, *arguments: Any, **options: Any) -> Any:
        return Trainer.prediction_step(self, *arguments, **options)


@contextmanager
def _hide_adapter_on_output(model: PreTrainedModel) -> Iterator[None]:
    """Until the end of the block, ``model`` names its plain output layer, whatever is put around that."""
    plain = model.get_output_embeddings()
    model.get_output_embeddings = lambda: plain
    try:
        yield
    finally:
        del model.get_output_embeddings


def build_trainer(
    subject: Subject, arguments: TrainingArguments, data: TrainingData, callbacks: list[TrainerCallback]
) -> Trainer:
    """A trainer ready to train.

    Raises DatasetError when no row is left after cutting to max_seq_length, ConfigError for an adapter that TRL cannot
    train by dpo.
    """
    options = {
        "model": subject.model,
        "args": arguments,
        "train_dataset": data.train,
        "eval_dataset": data.validation,
        "processing_class": subject.tokenizer,
        "peft_config": subject.adapter,
        "callbacks": callbacks,
    }
    on_output = OUTPUT_LAYER in (getattr(subject.adapter, "target_modules", None) or ())
    trainer: Trainer
    if isinstance(arguments, DPOConfig):
        try:
            trainer = DPOTrainer(**options, ref_model=subject.reference)
        except ValueError as error:
            if not on_output:
                raise
            hint = f"take {OUTPUT_LAYER} out of target_modules, or install trl<1.15"
            raise ConfigError(f"dpo with an adapter on {OUTPUT_LAYER}: {error}", hint=hint) from error
    else:
        trainer = (OutputLayerTrainer if on_output else SFTTrainer)(**options)
    trainer.remove_callback(transformers.PrinterCallback)
    if hasattr(trainer.train_dataset, "__len__") and not len(trainer.train_dataset):
        raise DatasetError(
            f"max_seq_length {arguments.max_length} cuts the answer off every row", hint="raise max_seq_length"
        )
    return trainer
