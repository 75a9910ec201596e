"""Time per training step against a bare TRL script with the same settings, in one run, taking turns.

    python benchmarks/trainer_overhead.py .cache/smollm2-135m-instruct [--rounds 4] [--steps 10]

Both train the same LoRA on the same rows in the same order, log every step and save every fifth. Ours reads the
expert's manifest and publishes every checkpoint; the bare script is what TRL's documentation shows. A step's time is
from the end of the one before to its own end, saves included; the first two steps of every training do not count.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback, set_seed
from trl import SFTConfig, SFTTrainer

from sidestep.shared.cpu_dtype import cpu_dtype
from sidestep.trainer.config.building import with_overrides
from sidestep.trainer.config.fields import TrainingConfig
from sidestep.trainer.config.reading import read_config
from sidestep.trainer.objectives import build_trainer
from sidestep.trainer.trainer import train

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "shop"
WARM_UP = 2
TURN = re.compile(r"<\|(\w+)\|>\n(.*?)\n<\|end\|>", re.DOTALL)


class Stopwatch(TrainerCallback):
    """When the steps ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        self.ends.append(time.perf_counter())

    @property
    def seconds(self) -> list[float]:
        """Lengths of the steps after the first ones, which warm up."""
        return [after - before for before, after in zip(self.ends, self.ends[1:], strict=False)][WARM_UP:]


def train_bare(config: TrainingConfig) -> tuple[list[float], list[float]]:
    """The training as one would write it with TRL alone. Step times and losses."""
    tokenizer = AutoTokenizer.from_pretrained(config.base_model_path)
    rows = []
    for line in Path(config.dataset_path).read_text().splitlines():
        messages = [{"role": role, "content": content} for role, content in TURN.findall(json.loads(line)["text"])]
        rows.append({"prompt": messages[:-1], "completion": messages[-1:]})
    watch = Stopwatch()
    set_seed(config.seed)  # TRL makes the adapter before the trainer sets the seed
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(config.base_model_path, dtype=getattr(torch, cpu_dtype())),
        args=SFTConfig(
            output_dir=str(config.output_dir / "bare"), max_steps=config.max_steps, learning_rate=config.learning_rate,
            per_device_train_batch_size=config.batch_size, lr_scheduler_type=config.lr_scheduler, max_length=256,
            save_steps=config.save_steps, logging_steps=1, report_to=[], disable_tqdm=True, bf16=False, use_cpu=True,
            gradient_checkpointing=False, seed=config.seed, optim=config.optim,
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=LoraConfig(
            r=config.rank, lora_alpha=config.alpha, target_modules=list(config.target_modules), task_type="CAUSAL_LM"
        ),
        callbacks=[watch],
    )  # fmt: skip
    trainer.train()
    return watch.seconds, [row["loss"] for row in trainer.state.log_history if "loss" in row]


def train_ours(config: TrainingConfig) -> tuple[list[float], list[float]]:
    """The same through sidestep-trainer's own code. Step times and losses."""
    watch, made = Stopwatch(), list[Any]()

    def timed(subject: Any, arguments: Any, data: Any, callbacks: Any) -> Any:
        made.append(build_trainer(subject, arguments, data, [*callbacks, watch]))
        return made[-1]

    with patch("sidestep.trainer.trainer.build_trainer", timed):
        train(config)
    return watch.seconds, [row["loss"] for row in made[-1].state.log_history if "loss" in row]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("base_model")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=10)
    options = parser.parse_args()
    config = with_overrides(
        read_config(EXAMPLE),
        {
            "base_model_path": str(Path(options.base_model).absolute()), "device": "cpu", "batch_size": 2,
            "max_steps": options.steps + WARM_UP + 1, "save_steps": 5, "logging_steps": 1, "warmup_steps": 0,
            "lr_scheduler": "constant", "save_total_limit": None,
        },
    )  # fmt: skip
    times: dict[str, list[float]] = {"bare": [], "ours": []}
    for number in range(options.rounds):
        pair = [("bare", train_bare), ("ours", train_ours)]
        losses = {}
        for name, measure in pair if number % 2 == 0 else reversed(pair):
            with tempfile.TemporaryDirectory(prefix="trainer-overhead-") as folder:
                seconds, losses[name] = measure(replace(config, output_dir=Path(folder)))
            times[name] += seconds
        difference = max(abs(a - b) for a, b in zip(losses["bare"], losses["ours"], strict=True))
        print(f"round {number + 1}: greatest difference of the losses {difference:.2e}", flush=True)
    ratios = [a / b for a, b in zip(times["ours"], times["bare"], strict=True)]
    print("| steps each | bare TRL, median s | Sidestep, median s | ratio of medians | median of the steps' ratios |")
    print("|---|---|---|---|---|")
    medians = {name: statistics.median(seconds) for name, seconds in times.items()}
    print(
        f"| {len(ratios)} | {medians['bare']:.4f} | {medians['ours']:.4f} | {medians['ours'] / medians['bare']:.4f} "
        f"| {statistics.median(ratios):.4f} |"
    )


if __name__ == "__main__":
    main()
