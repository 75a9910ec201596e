"""Several tasks: their files and formats, the checks of their rows, weights, and the split."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sidestep.shared.errors import ConfigError, DatasetError
from sidestep.trainer.config import TrainingConfig, with_overrides
from sidestep.trainer.config_reading import from_host, read_config
from sidestep.trainer.dataset_loader import TrainingData, load_training_data
from sidestep.trainer.model_loader import load_tokenizer
from tests.unit.trainer.conftest import write_rows


def sft(task: str, number: int, output: Any = None) -> dict[str, Any]:
    return {"task": task, "input": {"instruction": f"{task} {number}"}, "output": output or f"answer {number}"}


def dpo(task: str, number: int) -> dict[str, Any]:
    return {"task": task, "input": {"instruction": f"{task} {number}"}, "chosen": "good", "rejected": "bad"}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for name in ("repair", "extract"):
        write_rows(tmp_path / name / "train.jsonl", [sft(name, number) for number in range(20)])
        write_rows(tmp_path / name / "valid.jsonl", [sft(name, number) for number in range(100, 103)])
    write_rows(tmp_path / "prefer" / "train.jsonl", [dpo("prefer", number) for number in range(6)])
    return tmp_path


def load(config: TrainingConfig, tasks: dict[str, Any], checks: Any = None, **changes: Any) -> TrainingData:
    block = {"tasks": tasks, "validation": checks}
    config = with_overrides(
        config, {"dataset_type": "multi_task", "multi_task_config": block, "dataset_path": "", **changes}
    )
    return load_training_data(config, load_tokenizer(config))


def questions(config: TrainingConfig, rows: Any) -> list[str]:
    tokenizer = load_tokenizer(config)
    return [tokenizer.decode(row["input_ids"]).split("user\n")[1].split("<")[0] for row in rows]


def by_task(config: TrainingConfig, rows: Any) -> Counter[str]:
    return Counter(question.split()[0] for question in questions(config, rows))


def test_weights_are_shares_of_each_tasks_rows(config: TrainingConfig, files: Path) -> None:
    tasks = {
        "repair": {"train": str(files / "repair/train.jsonl"), "weight": 0.25},
        "extract": {"train": str(files / "extract/train.jsonl"), "weight": 2.5},
        "prefer": {"train": str(files / "prefer/train.jsonl"), "weight": 0},
    }
    rows = load(config, tasks).train
    assert by_task(config, rows) == {"repair": 5, "extract": 50}
    assert questions(config, rows) == questions(config, load(config, tasks).train)
    assert set(Counter(questions(config, rows)).values()) == {1, 2, 3}
    with pytest.raises(DatasetError, match=r"every task .* has weight 0"):
        load(config, {"prefer": tasks["prefer"]})


def test_a_task_for_dpo_in_an_sft_training_learns_the_better_answers(config: TrainingConfig, files: Path) -> None:
    tasks = {"prefer": {"train": str(files / "prefer/train.jsonl"), "format": "dpo"}}
    tokenizer = load_tokenizer(config)
    assert all("good<|im_end|>" in tokenizer.decode(row["input_ids"]) for row in load(config, tasks).train)


def test_dpo(config: TrainingConfig, files: Path) -> None:
    tasks: dict[str, Any] = {"prefer": {"train": str(files / "prefer/train.jsonl"), "format": "dpo"}}
    rows = load(config, tasks, method="dpo").train
    assert rows.column_names == ["prompt", "chosen", "rejected"]
    assert rows[5]["prompt"] == [{"role": "user", "content": "prefer 5"}]
    tasks["repair"] = {"train": str(files / "repair/train.jsonl")}
    with pytest.raises(ConfigError, match="these tasks are of format sft: repair"):
        load(config, tasks, method="dpo")


def test_validation_files_or_a_tenth_of_all_that_no_copy_is_trained_on(config: TrainingConfig, files: Path) -> None:
    tasks: dict[str, Any] = {
        name: {"train": str(files / name / "train.jsonl"), "valid": str(files / name / "valid.jsonl")}
        for name in ("repair", "extract")
    }
    data = load(config, tasks, evaluation_strategy="steps")
    assert by_task(config, data.validation) == {"repair": 3, "extract": 3}
    assert len(data.train) == 40
    for task in tasks.values():
        del task["valid"]
        task["weight"] = 3
    data = load(config, tasks, evaluation_strategy="steps")
    assert len(data.validation or []) == 4
    assert len(data.train) == 3 * 36
    assert not set(questions(config, data.validation)) & set(questions(config, data.train))


SCHEMA = {"type": "object", "required": ["name"]}


@pytest.mark.parametrize(
    ("checks", "left", "reason"),
    [
        ({}, 6, None),
        ({"deduplicate": True}, 5, "1 × it repeats an earlier row"),
        ({"validate_json": True}, 5, "1 × the answer is not JSON"),
        ({"validate_schema": True}, 5, "1 × the answer does not satisfy the row's schema"),
        ({"min_length": 3}, 5, "1 × the answer is shorter than min_length 3"),
        ({"max_length": 20}, 5, "1 × the answer is longer than max_length 20"),
    ],
)
def test_checks(
    config: TrainingConfig, tmp_path: Path, checks: dict[str, Any], left: int, reason: str | None,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    rows = [sft("t", 1, '{"name": 1}'), sft("t", 1, '{"name": 1}'), sft("t", 2, "no json"), sft("t", 3, "{}"),
            sft("t", 4, json.dumps("x" * 30)), sft("t", 5, {"a": 1})]  # fmt: skip
    rows[0]["input"]["schema"] = rows[1]["input"]["schema"] = json.dumps(SCHEMA)
    rows[4]["input"]["schema"] = "CREATE TABLE t (x)"  # a schema, but not of JSON
    rows[5] |= {"schema": SCHEMA}
    path = write_rows(tmp_path / "t.jsonl", rows)
    assert len(load(config, {"t": {"train": str(path)}}, checks, max_seq_length=400).train) == left
    assert (reason or "") in caplog.text
    assert ("cannot be used" in caplog.text) is (reason is not None)


def test_a_schema_that_refers_elsewhere_fetches_nothing(config: TrainingConfig, tmp_path: Path) -> None:
    rows = [sft("t", 1, "{}"), sft("t", 2, "{}")]
    rows[0]["schema"] = {"$ref": "http://127.0.0.1:9/schema.json"}
    path = write_rows(tmp_path / "t.jsonl", rows)
    assert len(load(config, {"t": {"train": str(path)}}, {"validate_schema": True}).train) == 1


@pytest.mark.parametrize(
    ("block", "reason"),
    [
        (None, "multi-task data without tasks"),
        ({"tasks": {}}, "tasks = {} is wrong"),
        ({"tasks": {"t": {}}}, "tasks.t.train"),
        ({"tasks": {"t": {"train": "x", "weight": -1}}}, "tasks.t.weight = -1 is wrong"),
        ({"tasks": {"t": {"train": "x", "format": "ppo"}}}, "tasks.t.format = 'ppo' is wrong"),
        ({"tasks": {"t": {"train": "x"}}, "validation": {"min_length": "many"}}, "validation.min_length"),
    ],
)
def test_wrong_blocks_are_refused(config: TrainingConfig, block: Any, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        with_overrides(config, {"dataset_type": "multi_task", "multi_task_config": block})


def test_what_does_not_go_with_several_tasks(config: TrainingConfig) -> None:
    block = {"tasks": {"t": {"train": "x"}}}
    with pytest.raises(ConfigError, match="belongs to dataset_type multi_task"):
        with_overrides(config, {"multi_task_config": block})
    with pytest.raises(ConfigError, match="streaming is for one data set"):
        with_overrides(config, {"dataset_type": "multi_task", "multi_task_config": block, "streaming": True})


def test_unknown_keys_are_named(config: TrainingConfig, files: Path, caplog: pytest.LogCaptureFixture) -> None:
    load(config, {"t": {"train": str(files / "repair/train.jsonl"), "colour": 1}}, {"spell": True})
    assert "the key tasks.t.colour is not known" in caplog.text
    assert "the key validation.spell is not known" in caplog.text


def test_the_manifests_block_with_paths_from_its_folder(config: TrainingConfig, files: Path, host_config: Any) -> None:
    document = host_config()
    block = {"type": "multi_task", "tasks": {"repair": {"train": "repair/train.jsonl", "valid": "repair/valid.jsonl"}}}
    manifest = {"name": "x", "version": "1", "base_model": {"name": document["base_model_name"]},
                "training": {"dataset": block, "config": document["training"]}}  # fmt: skip
    (files / "manifest.json").write_text(json.dumps(manifest))
    expert = read_config(files)
    host = from_host({**document, "dataset_path": "", "dataset": block})
    for found in (expert, replace(host, evaluation_strategy="steps")):
        data = load_training_data(found, load_tokenizer(found))
        assert len(data.train) == 20
        assert len(data.validation or []) == (3 if found.evaluation_strategy == "steps" else 0)
