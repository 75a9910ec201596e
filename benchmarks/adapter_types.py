"""Every kind of training on the real model: its loss, and whether the evaluator sees the same model as the trainer.

    python benchmarks/adapter_types.py .cache/smollm2-135m-instruct [--kinds lora,full] [--steps 20] [--cases 6]

For every kind: train the example expert in float32, take greedy answers from the model in the trainer's memory at the
last step (transformers' own generate), then let the evaluator evaluate that checkpoint in float32 and compare the
answers text by text.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from sidestep.shared.protocol.layout import ExpertFolder
from sidestep.trainer.config.building import with_overrides
from sidestep.trainer.config.reading import read_config
from sidestep.trainer.objectives import build_trainer
from sidestep.trainer.trainer import train

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "shop"
NEW_TOKENS = 32
PROMPT = [{"name": "sql", "tokens": 16, "init_method": "text", "init_text": "Answer with one SQLite query only."}]
KINDS: dict[str, dict[str, Any]] = {
    "lora": {"adapter_type": "lora"},
    "dora": {"adapter_type": "dora"},
    "ia3": {
        "adapter_type": "ia3", "target_modules": ["k_proj", "v_proj", "down_proj"],
        "feedforward_modules": ["down_proj"], "learning_rate": 0.01,
    },
    "lokr": {"adapter_type": "lokr", "learning_rate": 0.01},
    "prompt_tuning": {"adapter_type": "prompt_tuning", "soft_prompts": PROMPT, "learning_rate": 0.02},
    "full": {"adapter_type": "full", "learning_rate": 5e-5},
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Row:
    """What came of one kind."""

    kind: str
    trained: int  # weights
    first_loss: float
    last_loss: float
    step_seconds: float
    cases: int
    equal: int  # answers of the evaluator that are the trainer's


def measure(kind: str, base_model: str, folder: Path, steps: int, cases: int) -> Row:
    """Train one kind, evaluate its last checkpoint, compare."""
    expert = folder / kind
    shutil.copytree(EXAMPLE, expert)
    suite = json.loads(ExpertFolder(expert).suite.read_text())
    suite["test_cases"] = suite["test_cases"][:: max(1, len(suite["test_cases"]) // cases)][:cases]
    ExpertFolder(expert).suite.write_text(json.dumps(suite))
    config = with_overrides(
        read_config(expert),
        {
            "base_model_path": base_model, "device": "cpu", "bf16": False, "batch_size": 2, "max_steps": steps,
            "save_steps": steps, "logging_steps": 1, "warmup_steps": 0, "lr_scheduler": "constant",
            "max_seq_length": 1024,
            **KINDS[kind],
        },
    )  # fmt: skip
    made: list[Any] = []

    def build_and_keep(*arguments: Any) -> Any:
        made.append(build_trainer(*arguments))
        return made[-1]

    begin = time.monotonic()
    with patch("sidestep.trainer.trainer.build_trainer", build_and_keep):
        train(replace(config, output_dir=config.output_dir.absolute()))
    seconds = (time.monotonic() - begin) / steps
    in_memory = answer_in_memory(made[-1], suite["test_cases"])
    losses = [row["loss"] for row in made[-1].state.log_history if "loss" in row]
    trained = sum(parameter.numel() for parameter in made[-1].model.parameters() if parameter.requires_grad)
    evaluator_answers = evaluate(expert, base_model, steps)
    equal = sum(evaluator_answers.get(case) == text for case, text in in_memory.items())
    for case, text in in_memory.items():
        if evaluator_answers.get(case) != text:
            print(f"{kind} {case}: in memory {text!r}, evaluator {evaluator_answers.get(case)!r}", file=sys.stderr)
    return Row(
        kind=kind, trained=trained, first_loss=losses[0], last_loss=losses[-1], step_seconds=seconds,
        cases=len(in_memory), equal=equal,
    )  # fmt: skip


@torch.no_grad()
def answer_in_memory(trainer: Any, cases: list[dict[str, Any]]) -> dict[str, str]:
    """Greedy answers of the model as the trainer has it, one case at a time."""
    model, tokenizer = trainer.model.eval(), trainer.processing_class
    found = {}
    for case in cases:
        messages = [
            {"role": "system", "content": case["system_prompt"]},
            {"role": "user", "content": case["user_prompt"]},
        ]
        inputs = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        ids = model.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False, pad_token_id=tokenizer.pad_token_id)[
            0
        ]
        found[case["id"]] = tokenizer.decode(ids[inputs["input_ids"].shape[1] :], skip_special_tokens=True).strip()
    return found


def evaluate(expert: Path, base_model: str, step: int) -> dict[str, str]:
    """Let the evaluator evaluate the checkpoint; returns the answers in its report, by case id."""
    command = [
        sys.executable, "-m", "sidestep.evaluator", "watch", str(expert), "--base-model", base_model, "--once",
        "--device", "cpu", "--dtype", "float32", "--max-new-tokens", str(NEW_TOKENS),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    report = ExpertFolder(expert).weights.reports.checkpoint(step) / "report.json"
    if not report.is_file():
        print(done.stderr[-2000:], file=sys.stderr)
        return {}
    return {case["id"]: case["output"].strip() for case in json.loads(report.read_text())["test_cases"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("base_model")
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--cases", type=int, default=6)
    options = parser.parse_args()
    print("| kind | weights trained | first loss | last loss | s per step, all in | answers equal |")
    print("|---|---|---|---|---|---|")
    for kind in options.kinds.split(","):
        with tempfile.TemporaryDirectory(prefix="adapter-types-") as folder:
            row = measure(kind, str(Path(options.base_model).absolute()), Path(folder), options.steps, options.cases)
        print(
            f"| {row.kind} | {row.trained:,} | {row.first_loss:.4f} | {row.last_loss:.4f} | {row.step_seconds:.2f} "
            f"| {row.equal} of {row.cases} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
