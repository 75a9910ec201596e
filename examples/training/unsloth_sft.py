"""LoRA with Unsloth and TRL's SFTTrainer; every checkpoint is evaluated beside the training. Needs a GPU.

    pip install 'sidestep[unsloth]'
    python examples/training/unsloth_sft.py --base-model models/Qwen3-0.6B --output-dir out

The evaluator loads the base model in its own process and without Unsloth: name a folder with ordinary weights. A
model that Unsloth quantized beforehand (…-bnb-4bit) is trained as it is; evaluate it against the original, with
``LaunchOptions(base_model=…)``.
"""

from __future__ import annotations

from unsloth import FastLanguageModel  # isort: skip  # before transformers, which it patches

from arguments import parse_arguments, read_rows
from datasets import Dataset
from trl import SFTConfig, SFTTrainer

from sidestep import LaunchOptions, PublishCheckpoint


def main() -> None:
    given = parse_arguments(__doc__)
    model, tokenizer = FastLanguageModel.from_pretrained(given.base_model, max_seq_length=1024, load_in_4bit=True)
    model = FastLanguageModel.get_peft_model(
        model, r=16, lora_alpha=32, target_modules=["q_proj", "k_proj", "v_proj", "o_proj"]
    )
    rows = [{"text": tokenizer.apply_chat_template(row["messages"], tokenize=False)} for row in read_rows(given.data)]
    trainer = SFTTrainer(
        model=model,
        processing_class=tokenizer,
        args=SFTConfig(
            output_dir=given.output_dir,
            max_steps=given.steps,
            save_steps=given.save_steps,
            save_total_limit=2,
            logging_steps=1,
            per_device_train_batch_size=2,
            learning_rate=2e-4,
            report_to=[],
        ),
        train_dataset=Dataset.from_list(rows),
        callbacks=[
            PublishCheckpoint(
                suite=given.suite,
                launch=True,
                evaluator=LaunchOptions(base_model=given.base_model, arguments=given.evaluator),
            ),
        ],
    )
    trainer.train()


if __name__ == "__main__":
    main()
