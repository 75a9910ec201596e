"""The example expert's manifest. How its training was sized: docs/decisions/demo-size.md."""

from __future__ import annotations

from typing import Any

TARGET_MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
RANK = 16
ALPHA = 32

MANIFEST: dict[str, Any] = {
    "name": "expert-shop",
    "version": "0.1.0",
    "schema_version": "2.0",
    "description": "Questions over a small shop database, answered with one SQLite query.",
    "author": "Sidestep",
    "base_models": [
        {
            "name": "HuggingFaceTB/SmolLM2-135M-Instruct",
            "sha256": "",
            "quantization": "none",
            "prompt_template": "chatml",
            "adapters": [{"type": "lora", "target_modules": TARGET_MODULES, "r": RANK, "alpha": ALPHA, "dropout": 0.0}],
        }
    ],
    "soft_prompts": [],
    "capabilities": ["database:sqlite", "task:query_generation", "language:en"],
    "training": {
        "dataset": {
            "path": "datasets/train.jsonl",
            "format": "jsonl",
            "streaming": False,
            "field_mapping": {"text": "text"},
        },
        "config": {
            "method": "sft",
            "adapter_type": "lora",
            "rank": RANK,
            "alpha": ALPHA,
            "dropout": 0.0,
            "target_modules": TARGET_MODULES,
            "_length_comment": "960 rows / batch 4 x 0.25 epochs = 60 steps, a checkpoint every 10",
            "epochs": 0.25,
            "batch_size": 4,
            "gradient_accumulation_steps": 1,
            "learning_rate": 2e-3,
            "lr_scheduler": "cosine",
            "warmup_steps": 4,
            "max_seq_length": 256,
            "bf16": True,
            "optim": "adamw_torch",
            "logging_steps": 5,
            "save_strategy": "steps",
            "save_steps": 10,
            "save_total_limit": 2,
            "evaluation_strategy": "no",
        },
    },
    "evaluation": {
        "_comment": "the longest reference has 41 tokens",
        "decoding": {"max_new_tokens": 64},
    },
    "license": "apache-2.0",
    "tags": ["sql", "sqlite", "example"],
}
