"""LoRA by rewards with TRL's GRPOTrainer; every checkpoint is evaluated beside the training.

    python examples/training/trl_grpo.py --base-model models/SmolLM2-135M-Instruct --output-dir out

The reward of an answer to one of the shop's questions is how much of the known answer it repeats.
"""

from __future__ import annotations

from difflib import SequenceMatcher
from typing import Any

from arguments import parse_arguments, read_rows
from datasets import Dataset
from peft import LoraConfig
from trl import GRPOConfig, GRPOTrainer

from sidestep import LaunchOptions, PublishCheckpoint


def questions(rows: list[dict[str, Any]]) -> Dataset:
    """Each row's conversation up to the answer, and the answer that is known."""
    return Dataset.from_list(
        [{"prompt": row["messages"][:-1], "answer": row["messages"][-1]["content"]} for row in rows]
    )


def likeness(completions: list[list[dict[str, str]]], answer: list[str], **_: Any) -> list[float]:
    """0 for nothing in common with the known answer, 1 for the same text."""
    given = [completion[0]["content"] for completion in completions]
    return [SequenceMatcher(None, text, known).ratio() for text, known in zip(given, answer, strict=True)]


def main() -> None:
    given = parse_arguments(__doc__)
    trainer = GRPOTrainer(
        model=given.base_model,
        reward_funcs=likeness,
        args=GRPOConfig(
            output_dir=given.output_dir,
            max_steps=given.steps,
            save_steps=given.save_steps,
            save_total_limit=2,
            logging_steps=1,
            per_device_train_batch_size=4,
            num_generations=4,
            max_completion_length=48,
            learning_rate=5e-5,
            report_to=[],
            use_cpu=given.cpu,
        ),
        train_dataset=questions(read_rows(given.data)),
        peft_config=LoraConfig(r=16, lora_alpha=32, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"),
        callbacks=[
            PublishCheckpoint(suite=given.suite, launch=True, evaluator=LaunchOptions(arguments=given.evaluator)),
        ],
    )
    trainer.train()


if __name__ == "__main__":
    main()
