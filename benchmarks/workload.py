"""What every benchmark works on: checkpoints of one real LoRA training, and prompts that it never saw.

The training runs once (120 steps of rank 8 on q, v, up and down) and is kept under ``.cache/bench``; everything else
reuses it. The data are those of the elastic expert where it lies beside this project, else those of examples/shop.

    python -m benchmarks.workload       # prepare it now, and say where it is
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sidestep.evaluator.cases.case import Message
from sidestep.evaluator.cases.exchange import Request

ROOT = Path(__file__).resolve().parent.parent
CACHE = Path(os.environ.get("SIDESTEP_CACHE", ROOT / ".cache"))
BENCH = CACHE / "bench"
BASE_MODEL = CACHE / "smollm2-135m-instruct"
ELASTIC = ROOT.parent / "shared" / "experts" / "elastic"
SHOP = ROOT / "examples" / "shop"

HELD_OUT = 64
SEED = 20
STEPS = 120
SAVE_STEPS = 15
MAX_NEW_TOKENS = 96
MODULES = ["q_proj", "v_proj", "up_proj", "down_proj"]

_ROW = re.compile(r"<\|(system|user|assistant)\|>\n(.*?)\n<\|end\|>", re.S)


@dataclass(frozen=True)
class Workload:
    """An expert's folder with trained checkpoints, and its held-out prompts."""

    expert: Path
    base_model: Path
    checkpoints: tuple[Path, ...]
    prompts: tuple[dict[str, str], ...]  # id, system, user, reference

    @property
    def requests(self) -> list[Request]:
        """The prompts as an engine takes them."""
        return [
            Request(prompt["id"], (Message("system", prompt["system"]), Message("user", prompt["user"])))
            for prompt in self.prompts
        ]


def prepare_workload() -> Workload:
    """Train what the benchmarks work on, where that has not been done, and say where it lies."""
    source = ELASTIC if (ELASTIC / "datasets" / "train.jsonl").is_file() else SHOP
    expert = BENCH / source.name
    done = expert / "complete"
    if not done.is_file():
        _write_expert(source, expert)
        _train(expert)
        done.touch()
    found = sorted(expert.glob("weights/*/checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    prompts = tuple(json.loads((expert / "prompts.json").read_text()))
    return Workload(expert, BASE_MODEL, tuple(found), prompts)


def _write_expert(source: Path, expert: Path) -> None:
    """Training rows without the held-out ones, a suite of the held-out ones, and a manifest."""
    shutil.rmtree(expert, ignore_errors=True)
    (expert / "datasets").mkdir(parents=True)
    (expert / "tests").mkdir()
    lines = (source / "datasets" / "train.jsonl").read_text().splitlines()
    chosen = set(random.Random(SEED).sample(range(len(lines)), HELD_OUT))
    kept = [line for number, line in enumerate(lines) if number not in chosen]
    (expert / "datasets" / "train.jsonl").write_text("\n".join(kept) + "\n")
    prompts = [_prompt(json.loads(lines[number]), number) for number in sorted(chosen)]
    (expert / "prompts.json").write_text(json.dumps(prompts, indent=1))
    (expert / "tests" / "test_cases.json").write_text(json.dumps(_suite(source.name, prompts), indent=1))
    (expert / "manifest.json").write_text(json.dumps(_manifest(source.name), indent=1))


def _prompt(row: dict[str, Any], number: int) -> dict[str, str]:
    turns = dict(_ROW.findall(row["text"]))
    return {
        "id": f"row-{number:05d}",
        "system": turns.get("system", ""),
        "user": turns["user"],
        "reference": turns["assistant"],
    }


def _suite(name: str, prompts: list[dict[str, str]]) -> dict[str, Any]:
    cases = [
        {
            "id": prompt["id"],
            "system_prompt": prompt["system"],
            "user_prompt": prompt["user"],
            "reference": prompt["reference"],
            "checks": [{"scorer": "exact", "value": prompt["reference"]}],
        }
        for prompt in prompts
    ]
    return {"test_suite": f"{name}-held-out", "version": "1", "test_cases": cases}


def _manifest(name: str) -> dict[str, Any]:
    return {
        "name": f"bench-{name}",
        "version": "0.1.0",
        "schema_version": "2.0",
        "base_models": [{"name": "HuggingFaceTB/SmolLM2-135M-Instruct", "quantization": "none"}],
        "training": {
            "dataset": {"path": "datasets/train.jsonl", "format": "jsonl", "field_mapping": {"text": "text"}},
            "config": {
                "method": "sft", "adapter_type": "lora", "rank": 8, "alpha": 16, "dropout": 0.0,
                "target_modules": MODULES, "epochs": 1.0, "batch_size": 4, "gradient_accumulation_steps": 1,
                "learning_rate": 0.001, "lr_scheduler": "cosine", "warmup_steps": 4, "max_seq_length": 256,
                "bf16": True, "logging_steps": 10, "save_strategy": "steps", "save_steps": SAVE_STEPS,
                "evaluation_strategy": "no",
            },
        },
        "evaluation": {"decoding": {"max_new_tokens": MAX_NEW_TOKENS}},
    }  # fmt: skip


def _train(expert: Path) -> None:
    command = [
        Path(sys.executable).with_name("sidestep-trainer"), expert, "--base-model", BASE_MODEL,
        "--max-steps", str(STEPS), "--save-steps", str(SAVE_STEPS), "--device", "cpu",
    ]  # fmt: skip
    subprocess.run([str(part) for part in command], check=True)


if __name__ == "__main__":
    workload = prepare_workload()
    print(workload.expert)
    print("\n".join(map(str, workload.checkpoints)))
