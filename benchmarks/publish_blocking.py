"""How long a save keeps the training loop waiting because of publishing: a real LoRA training, one save per step.

    python benchmarks/publish_blocking.py BASE_MODEL [SAVES]

Prints a Markdown row for docs/benchmarks.md: the distribution of blocked time over all saves, beside what publishing
would cost if it ran on the training thread (link, hash, sync, marker).
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, Trainer, TrainerCallback, TrainingArguments

from sidestep.shared.cpu_dtype import cpu_dtype
from sidestep.trainer.publishing.checkpoint_publisher import CheckpointPublisher
from sidestep.trainer.publishing.publisher import PublishCheckpoint


def record_background_seconds() -> list[float]:
    """Have every checkpoint's publishing add to the returned list how long it takes on the background thread."""
    publish, seconds = CheckpointPublisher.publish, list[float]()

    def timed(self: CheckpointPublisher, *arguments: Any) -> None:
        began = time.perf_counter()
        publish(self, *arguments)
        seconds.append(time.perf_counter() - began)

    CheckpointPublisher.publish = timed  # type: ignore[method-assign, assignment]
    return seconds


def train(base_model: str, saves: int, out: Path, *callbacks: TrainerCallback) -> None:
    """Train with ``saves`` saves, one per step, into ``out``."""
    model = AutoModelForCausalLM.from_pretrained(base_model, dtype=getattr(torch, cpu_dtype()))
    adapter = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    rows = [{"input_ids": list(range(100, 148)), "labels": list(range(100, 148))}] * (saves + 1)
    arguments = TrainingArguments(
        output_dir=str(out), max_steps=saves, per_device_train_batch_size=1, save_steps=1, save_total_limit=2,
        logging_steps=1, report_to=[], disable_tqdm=True,
    )  # fmt: skip
    Trainer(
        model=get_peft_model(model, adapter), args=arguments, train_dataset=Dataset.from_list(rows),
        callbacks=list(callbacks),
    ).train()  # fmt: skip


def row(name: str, seconds: list[float]) -> str:
    """A line of the table."""
    milliseconds = sorted(1000 * second for second in seconds)
    tenths = statistics.quantiles(milliseconds, n=10)
    return (
        f"| {name} | {len(milliseconds)} | {milliseconds[0]:.2f} | {statistics.median(milliseconds):.2f} "
        f"| {tenths[-1]:.2f} | {milliseconds[-1]:.2f} |"
    )


def main() -> None:
    base_model, saves = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 40
    publisher, background_seconds = PublishCheckpoint(), record_background_seconds()
    with tempfile.TemporaryDirectory(dir=".") as folder:
        train(base_model, saves, Path(folder) / "weights" / "model", publisher)
    print("| per save, in ms | saves | least | median | 90 % | most |\n|---|---|---|---|---|---|")
    print(row("training loop blocked", publisher.blocked_seconds))
    print(row("work on the background thread", background_seconds))


if __name__ == "__main__":
    main()
