"""LoRA with TRL's SFTTrainer; every checkpoint is evaluated beside the training.

python examples/training/trl_sft.py --base-model models/SmolLM2-135M-Instruct --output-dir out
"""

from __future__ import annotations

from arguments import parse_arguments, read_rows
from datasets import Dataset
from peft import LoraConfig
from trl import SFTConfig, SFTTrainer

from sidestep import LaunchOptions, PublishCheckpoint


def main() -> None:
    given = parse_arguments(__doc__)
    trainer = SFTTrainer(
        model=given.base_model,
        args=SFTConfig(
            output_dir=given.output_dir,
            max_steps=given.steps,
            save_steps=given.save_steps,
            save_total_limit=2,
            logging_steps=1,
            per_device_train_batch_size=2,
            learning_rate=2e-4,
            max_length=256,
            report_to=[],
            use_cpu=given.cpu,
        ),
        train_dataset=Dataset.from_list(read_rows(given.data)),
        peft_config=LoraConfig(r=16, lora_alpha=32, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"),
        callbacks=[
            PublishCheckpoint(suite=given.suite, launch=True, evaluator=LaunchOptions(arguments=given.evaluator)),
        ],
    )
    trainer.train()


if __name__ == "__main__":
    main()
