"""A real LoRA training with steps of equal size, until it is ended: what the evaluator is measured against.

python -m benchmarks.peers.steady_training BASE_MODEL OUTPUT_DIR DEVICE [ROWS TOKENS SAVE_STEPS]
"""

from __future__ import annotations

import os
import sys

import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments

from benchmarks.workload import MODULES
from sidestep.evaluator.sharing.process_priority import die_with_parent
from sidestep.shared.cpu_dtype import cpu_dtype
from sidestep.trainer.publishing.publisher import PublishCheckpoint


def main() -> None:
    die_with_parent(os.getppid())
    base, output, device = sys.argv[1:4]
    rows, tokens, save_steps = map(int, sys.argv[4:7] or (4, 118, 10**9))
    dtype = cpu_dtype() if device == "cpu" else "bfloat16"
    model = AutoModelForCausalLM.from_pretrained(base, dtype=getattr(torch, dtype))
    adapter = LoraConfig(r=8, lora_alpha=16, target_modules=MODULES, task_type="CAUSAL_LM")
    row = {"input_ids": list(range(100, 100 + tokens)), "labels": list(range(100, 100 + tokens))}
    arguments = TrainingArguments(
        output_dir=output, max_steps=10**6, per_device_train_batch_size=rows, save_steps=save_steps,
        save_total_limit=2, logging_steps=10**6, report_to=[], disable_tqdm=True, use_cpu=device == "cpu",
    )  # fmt: skip
    Trainer(
        model=get_peft_model(model, adapter), args=arguments, train_dataset=Dataset.from_list([row] * 4096),
        callbacks=[PublishCheckpoint()],
    ).train()  # fmt: skip


if __name__ == "__main__":
    main()
