"""The trainer for each objective: TRL's SFTTrainer for answers, its DPOTrainer for preferences."""

from __future__ import annotations

from dataclasses import dataclass

import transformers
from peft import PeftConfig
from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer, TrainerCallback, TrainingArguments
from trl import DPOConfig, DPOTrainer, SFTTrainer

from sidestep.shared.errors import DatasetError
from sidestep.trainer.dataset_loader import TrainingData


@dataclass(frozen=True)
class Subject:
    """What is trained: a model, its tokenizer, and the adapter that is put on it (None: the model as it is)."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    adapter: PeftConfig | None = None
    reference: PreTrainedModel | None = None
    """dpo without an adapter: a second copy to stay near to. With one, the adapter is switched off for that."""


def build_trainer(
    subject: Subject, arguments: TrainingArguments, data: TrainingData, callbacks: list[TrainerCallback]
) -> Trainer:
    """A trainer ready to train. Raises DatasetError when no row is left after cutting to max_seq_length."""
    options = {
        "model": subject.model,
        "args": arguments,
        "train_dataset": data.train,
        "eval_dataset": data.validation,
        "processing_class": subject.tokenizer,
        "peft_config": subject.adapter,
        "callbacks": callbacks,
    }
    if isinstance(arguments, DPOConfig):
        trainer: Trainer = DPOTrainer(**options, ref_model=subject.reference)
    else:
        trainer = SFTTrainer(**options)
    trainer.remove_callback(transformers.PrinterCallback)
    if hasattr(trainer.train_dataset, "__len__") and not len(trainer.train_dataset):
        raise DatasetError(
            f"max_seq_length {arguments.max_length} cuts the answer off every row", hint="raise max_seq_length"
        )
    return trainer
