"""LoRA by preferences with TRL's DPOTrainer; every checkpoint is evaluated beside the training.

    python examples/training/trl_dpo.py --base-model models/SmolLM2-135M-Instruct --output-dir out

The shop's answers are the chosen ones; the answer to another question is the rejected one.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from arguments import parse_arguments, read_rows
from datasets import Dataset
from peft import LoraConfig
from trl import DPOConfig, DPOTrainer

from sidestep import LaunchOptions, PublishCheckpoint


def preferences(rows: list[dict[str, Any]]) -> Dataset:
    """Each row's own answer against the next row's."""
    pairs = [
        {"prompt": row["messages"][:-1], "chosen": row["messages"][-1:], "rejected": other["messages"][-1:]}
        for row, other in pairwise(rows)
        if row["messages"][-1] != other["messages"][-1]
    ]
    return Dataset.from_list(pairs)


def main() -> None:
    given = parse_arguments(__doc__)
    trainer = DPOTrainer(
        model=given.base_model,
        args=DPOConfig(
            output_dir=given.output_dir,
            max_steps=given.steps,
            save_steps=given.save_steps,
            save_total_limit=2,
            logging_steps=1,
            per_device_train_batch_size=2,
            learning_rate=5e-5,
            max_length=512,
            report_to=[],
            use_cpu=given.cpu,
        ),
        train_dataset=preferences(read_rows(given.data)),
        peft_config=LoraConfig(r=16, lora_alpha=32, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"),
        callbacks=[
            PublishCheckpoint(suite=given.suite, launch=True, evaluator=LaunchOptions(arguments=given.evaluator)),
        ],
    )
    trainer.train()


if __name__ == "__main__":
    main()
