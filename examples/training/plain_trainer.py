"""Full fine-tuning with a plain transformers Trainer; every checkpoint is evaluated beside the training.

    python examples/training/plain_trainer.py --base-model models/SmolLM2-135M-Instruct --output-dir out

The line that matters is the one with ``PublishCheckpoint``; everything else is a training script as anybody has one.
"""

from __future__ import annotations

from arguments import parse_arguments, read_rows
from datasets import Dataset
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorForLanguageModeling,
    Trainer,
    TrainingArguments,
)

from sidestep import LaunchOptions, PublishCheckpoint


def main() -> None:
    given = parse_arguments(__doc__)
    tokenizer = AutoTokenizer.from_pretrained(given.base_model)
    texts = [tokenizer.apply_chat_template(row["messages"], tokenize=False) for row in read_rows(given.data)]
    encoded = tokenizer(texts, truncation=True, max_length=256)
    trainer = Trainer(
        model=AutoModelForCausalLM.from_pretrained(given.base_model),
        args=TrainingArguments(
            output_dir=given.output_dir,
            max_steps=given.steps,
            save_steps=given.save_steps,
            save_total_limit=2,
            logging_steps=1,
            per_device_train_batch_size=2,
            report_to=[],
            use_cpu=given.cpu,
        ),
        train_dataset=Dataset.from_dict(dict(encoded)),
        processing_class=tokenizer,
        data_collator=DataCollatorForLanguageModeling(tokenizer, mlm=False),
        callbacks=[
            PublishCheckpoint(suite=given.suite, launch=True, evaluator=LaunchOptions(arguments=given.evaluator)),
        ],
    )
    trainer.train()


if __name__ == "__main__":
    main()
