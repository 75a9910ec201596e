"""Every example of docs/data.md: its rows become what is shown below them, and its settings are read."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from sidestep.trainer.config import TrainingConfig
from sidestep.trainer.config_reading import from_host
from sidestep.trainer.data.tokens import IGNORED
from sidestep.trainer.dataset_loader import load_training_data
from sidestep.trainer.model_loader import load_tokenizer
from tests.unit.trainer.conftest import write_rows

PAGE = Path(__file__).resolve().parents[4] / "docs" / "data.md"
BLOCKS = re.findall(r"^```(json|jsonl|text)\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def examples() -> Iterator[tuple[dict[str, Any], list[dict[str, Any]], str]]:
    """Settings (those right above, if any), rows, and what the model reads."""
    for at, (language, text) in enumerate(BLOCKS):
        if language != "jsonl":
            continue
        above, below = BLOCKS[at - 1] if at else ("", ""), BLOCKS[at + 1]
        settings = json.loads(above[1])["dataset"] if above[0] == "json" else {}
        assert below[0] == "text", "rows without what the model reads"
        yield settings, [json.loads(line) for line in text.splitlines()], below[1].removesuffix("\n")


def marked(config: TrainingConfig, row: dict[str, list[int]]) -> str:
    tokenizer = load_tokenizer(config)
    parts = []
    for learnt, pairs in groupby(zip(row["input_ids"], row["labels"], strict=True), lambda pair: pair[1] != IGNORED):
        text = tokenizer.decode([token for token, _ in pairs])
        parts.append(f"«{text}»" if learnt else text)
    return "".join(parts)


@pytest.mark.parametrize(("settings", "rows", "read"), list(examples()), ids=lambda value: str(value)[:40])
def test_rows_become_what_the_page_says(
    host_config: Callable[..., dict[str, Any]], settings: dict[str, Any], rows: list[dict[str, Any]], read: str
) -> None:
    document = host_config(max_seq_length=512)
    tasks = settings.get("type") == "multi_task"
    document["dataset"] = {key: value for key, value in settings.items() if not tasks and key != "path"}
    config = from_host(document)
    write_rows(Path(config.dataset_path), rows)
    found = load_training_data(config, load_tokenizer(config)).train
    assert [marked(config, row) for row in found] == [read] * len(rows)


def test_the_settings_of_several_tasks_are_read(host_config: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    [block] = [json.loads(text)["dataset"] for kind, text in BLOCKS if kind == "json" and "multi_task" in text]
    for name, task in block["tasks"].items():
        row = {"task": name, "input": {"instruction": "q"}, "output": '{"a": 1}'}
        for part in {"train", "valid"} & set(task):
            task[part] = str(write_rows(tmp_path / task[part], [row, {**row, "output": "no JSON"}]))
    config = from_host({**host_config(), "dataset": block})
    data = load_training_data(replace(config, evaluation_strategy="steps"), load_tokenizer(config))
    assert len(data.validation or []) == 1
    assert len(data.train) == 2  # of one row each: half of it is none, and twice it is two
