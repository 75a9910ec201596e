"""Tokens made before: folders of others, and our cache, which is used for exactly what it was made from."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pytest

from sidestep.shared.errors import DatasetError
from sidestep.trainer.config import TrainingConfig, with_overrides
from sidestep.trainer.data.preparation import Preparation
from sidestep.trainer.data.tokens import IGNORED
from sidestep.trainer.dataset_loader import TrainingData, load_training_data
from sidestep.trainer.model_loader import load_tokenizer
from tests.fakes.tiny_model import build_tiny_model
from tests.unit.trainer.conftest import ROWS, write_rows


def load(config: TrainingConfig, **changes: Any) -> TrainingData:
    config = with_overrides(config, changes)
    return load_training_data(config, load_tokenizer(config))


def save(folder: Path, **columns: Any) -> str:
    datasets.Dataset.from_dict(columns).save_to_disk(str(folder))
    return str(folder)


@pytest.mark.parametrize(
    ("columns", "labels"),
    [
        ({}, [5, 6, 7]),
        ({"labels": [[-100, 6, 7]]}, [IGNORED, 6, 7]),
        ({"completion_mask": [[0, 0, 1]], "attention_mask": [[1, 1, 1]]}, [IGNORED, IGNORED, 7]),
        ({"assistant_masks": [[0, 1, 0]]}, [IGNORED, 6, IGNORED]),
    ],
)
def test_folders_of_others(
    config: TrainingConfig, tmp_path: Path, columns: Any, labels: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    path = save(tmp_path / "tokens", input_ids=[[5, 6, 7]], **columns)
    [row] = load(config, dataset_path=path, use_pretokenized=True).train
    assert row == {"input_ids": [5, 6, 7], "labels": labels}
    assert ("every token is learnt, questions included" in caplog.text) is (columns == {})


def test_rows_of_others_are_cut_left_out_and_counted(
    config: TrainingConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ids = [list(range(9)), [1, 2], [], [3, 4], list(range(9))]
    labels = [list(range(9)), [1], [], [-100, -100], [-100] * 8 + [8]]
    path = save(tmp_path / "tokens", input_ids=ids, labels=labels)
    [row] = load(config, dataset_path=path, use_pretokenized=True, max_seq_length=4).train
    assert row["input_ids"] == [0, 1, 2, 3]
    for reason in ("not as many labels", "has no tokens", "no token of it has a loss", "cuts the answer off"):
        assert f"1 × {reason}" in caplog.text or f"1 × it {reason}" in caplog.text or reason in caplog.text
    assert "1 rows are longer than max_seq_length" in caplog.text


def test_folders_that_are_of_no_use(config: TrainingConfig, tmp_path: Path) -> None:
    for path, reason in (
        (save(tmp_path / "other", input_ids=[[5, 99_999]]), "made with another tokenizer"),
        (save(tmp_path / "text", text=["x"]), "not tokenized: it has text, but no input_ids"),
        (config.dataset_path, "is not a pre-tokenized folder"),
    ):
        with pytest.raises(DatasetError, match=reason):
            load(config, dataset_path=path, use_pretokenized=True)


def test_the_split_and_validation_of_pretokenized_data(config: TrainingConfig, tmp_path: Path) -> None:
    path = save(tmp_path / "tokens", input_ids=[[number, 1] for number in range(30)])
    data = load(config, dataset_path=path, use_pretokenized=True, evaluation_strategy="steps")
    assert (len(data.train), len(data.validation or [])) == (27, 3)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """One entry for each data set that is tokenized."""
    calls: list[str] = []
    original = Preparation.load

    def counted(self: Preparation, rows: Any, report: Any, check: Any = None) -> datasets.Dataset:
        calls.append(report.name)
        return original(self, rows, report, check)

    monkeypatch.setattr(Preparation, "load", counted)
    return calls


def test_the_cache_is_made_once_and_holds_what_loading_gives(
    config: TrainingConfig, tmp_path: Path, made: list[str]
) -> None:
    plain = load(config, evaluation_strategy="steps")
    config = with_overrides(config, {"evaluation_strategy": "steps", "pretokenized_cache": str(tmp_path / "cache")})
    first, second = load(config), load(config)
    assert len(made) == 2
    for data in (first, second):
        assert list(data.train) == list(plain.train)
        assert list(data.validation or []) == list(plain.validation or [])
    load(config, learning_rate=5.0, epochs=9, lr_scheduler="cosine")  # changes no token
    assert len(made) == 2


def test_the_cache_is_not_used_for_anything_else(
    config: TrainingConfig, tmp_path: Path, made: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    config = with_overrides(config, {"pretokenized_cache": str(tmp_path / "cache")})
    before = load(config).train
    for changes, named in (
        ({"max_seq_length": 60}, "max_seq_length"),
        ({"evaluation_strategy": "steps"}, "split"),
        ({"field_mapping": {"text": "text"}}, "field_mapping"),
        ({"test_path": str(write_rows(tmp_path / "test.jsonl", ROWS[:2]))}, "data, test_path"),
    ):
        count = len(made)
        caplog.clear()
        load(config, **changes)
        assert len(made) > count, changes
        assert f"made with another {named}" in caplog.text
    count = len(made)
    assert list(load(config).train) == list(before)
    assert len(made) == count  # the first one is still there
    write_rows(Path(config.dataset_path), ROWS[:5])
    assert len(load(config).train) == 5
    assert "made with another data" in caplog.text


def test_another_tokenizer_or_template_makes_another_cache(
    config: TrainingConfig, tmp_path: Path, made: list[str]
) -> None:
    config = replace(config, pretokenized_cache=str(tmp_path / "cache"))
    tokenizer = load_tokenizer(config)
    load_training_data(config, tokenizer)
    tokenizer.chat_template = tokenizer.chat_template.replace("im_start|>", "im_start|> ")
    changed = load_training_data(config, tokenizer).train
    assert len(made) == 2
    tokenizer.add_tokens(["question"])
    assert load_training_data(config, tokenizer).train[0] != changed[0]
    assert len(made) == 3
    copy = load_tokenizer(replace(config, base_model_path=str(build_tiny_model(tmp_path / "copy", seed=1))))
    load_training_data(config, copy)
    assert len(made) == 3  # the same tokenizer elsewhere


def test_an_unfinished_or_foreign_cache_is_no_cache(config: TrainingConfig, tmp_path: Path, made: list[str]) -> None:
    cache = tmp_path / "cache"
    save(cache, input_ids=[[1]])  # another program's
    config = replace(config, pretokenized_cache=str(cache))
    assert len(load_training_data(config, load_tokenizer(config)).train) == 24
    [made_from] = cache.glob("*/made_from.json")
    assert not list(cache.glob(".unfinished*"))
    assert datasets.load_from_disk(str(cache))[0] == {"input_ids": [1]}  # left alone
    made_from.unlink()
    with pytest.raises(DatasetError, match=r"cache .* cannot be used"):
        load(config)


def test_use_pretokenized_with_a_cache_and_rows_means_the_cache(
    config: TrainingConfig, tmp_path: Path, made: list[str]
) -> None:
    for _ in range(2):
        data = load(config, use_pretokenized=True, pretokenized_cache=str(tmp_path / "cache"))
        assert len(data.train) == 24
    assert len(made) == 1
