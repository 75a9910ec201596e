"""What the example scripts share: their command line, and the shop's questions and answers as chat messages."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

SHOP = Path(__file__).resolve().parents[1] / "shop"
_TURN = re.compile(r"<\|(system|user|assistant)\|>\n(.*?)\n<\|end\|>", re.DOTALL)


def parse_arguments(description: str | None) -> argparse.Namespace:
    """The options of every example; ``evaluator`` is a tuple of further arguments for ``sidestep-evaluator watch``."""
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("--base-model", required=True, help="folder of the base model, or a hub id")
    parser.add_argument("--output-dir", default="out", help="where the checkpoints go")
    parser.add_argument("--data", type=Path, default=SHOP / "datasets" / "train.jsonl", help="rows with a text column")
    parser.add_argument("--suite", type=Path, default=SHOP / "tests" / "test_cases.json", help="test cases")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--save-steps", type=int, default=10)
    parser.add_argument("--cpu", action="store_true", help="train on the CPU although there is a GPU")
    parser.add_argument("evaluator", nargs="*", help="arguments for the evaluator, after --")
    given = parser.parse_args()
    given.evaluator = tuple(given.evaluator)
    return given


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Rows ``{"messages": [{"role": …, "content": …}, …]}`` from the example's text column."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return [
        {"messages": [{"role": role, "content": content} for role, content in _TURN.findall(row["text"])]}
        for row in rows
    ]
