"""Rows read as they are needed: the number of steps, the shuffle buffer, the split, and resuming."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pytest
from trl import SFTTrainer

import sidestep.trainer.data.file_formats as file_formats
from sidestep.shared.errors import ConfigError, DatasetError
from sidestep.shared.protocol.layout import ModelFolder
from sidestep.trainer.adapter_setup import adapter_config
from sidestep.trainer.arguments import training_arguments
from sidestep.trainer.config.building import with_overrides
from sidestep.trainer.config.fields import TrainingConfig
from sidestep.trainer.dataset_loader import TrainingData, load_training_data
from sidestep.trainer.device_plan import DeviceFacts, plan_device
from sidestep.trainer.model_loader import load_base_model, load_tokenizer
from tests.unit.trainer.conftest import ROWS, write_rows


@pytest.fixture
def config(config: TrainingConfig) -> TrainingConfig:
    return replace(config, streaming=True)


def load(config: TrainingConfig, **changes: Any) -> TrainingData:
    config = replace(config, **changes)
    return load_training_data(config, load_tokenizer(config))


def texts(config: TrainingConfig, rows: Any) -> list[str]:
    tokenizer = load_tokenizer(config)
    return [tokenizer.decode(row["input_ids"]).split("question ")[1].split("<")[0] for row in rows]


def build(config: TrainingConfig, data: TrainingData, folder: Path) -> SFTTrainer:
    plan = plan_device(config, DeviceFacts("cpu", fast_bf16=False))
    model, tokenizer = load_base_model(config, plan)
    config = replace(config, max_steps=data.steps)
    return SFTTrainer(model, args=training_arguments(config, plan, ModelFolder(folder)), train_dataset=data.train,
                      eval_dataset=data.validation, processing_class=tokenizer,
                      peft_config=adapter_config(config, model))  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "batch_size", "accumulation", "epochs"),
    [(24, 2, 1, 1.0), (23, 2, 3, 2.0), (7, 4, 4, 1.5), (5, 8, 2, 0.3), (9, 1, 2, 1.1)],
)
def test_steps_are_those_that_loaded_data_takes(
    config: TrainingConfig, tmp_path: Path, rows: int, batch_size: int, accumulation: int, epochs: float
) -> None:
    write_rows(Path(config.dataset_path), [*ROWS[:rows], {"text": "unusable"}])
    config = replace(config, batch_size=batch_size, gradient_accumulation_steps=accumulation, epochs=epochs)
    loaded = load(config, streaming=False)
    trainer = build(config, loaded, tmp_path)
    trainer.train()
    assert load(config).steps == trainer.state.max_steps


def test_max_steps_spares_the_counting(config: TrainingConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[tuple[Any, ...]] = []
    reader = file_formats.READERS["jsonl"]

    def counted(*arguments: Any) -> Any:
        reads.append(arguments)
        return reader(*arguments)

    monkeypatch.setitem(file_formats.READERS, "jsonl", counted)
    assert load(config, max_steps=3).steps == 3
    assert reads == []
    assert load(config).steps == 12
    assert len(reads) == 1


def test_each_epoch_has_every_row_in_another_order(config: TrainingConfig) -> None:
    stream = load(config).train
    assert isinstance(stream, datasets.IterableDataset)
    seen = texts(config, itertools.islice(stream, 48))
    first, second = seen[:24], seen[24:]
    assert sorted(first) == sorted(second) == sorted(str(number) for number in range(24))
    assert first != second
    assert seen == texts(config, itertools.islice(load(config).train, 48))  # but the same in every run
    assert seen != texts(config, itertools.islice(load(config, seed=7).train, 48))


def test_max_in_memory_samples_is_the_shuffle_buffer(config: TrainingConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(config, max_steps=1)
    read = []

    def reader(path: Path, streaming: bool) -> Any:
        for number, row in enumerate(ROWS):
            read.append(number)
            yield f"line {number}", row

    monkeypatch.setitem(file_formats.READERS, "jsonl", reader)
    for size in (1, 4, 16):
        read.clear()
        next(iter(load(config, max_in_memory_samples=size).train))
        assert (
            size <= len(read) <= size + 2
        )  # the buffer reads a row ahead, and with datasets 5 what hands rows out does
    in_order = texts(config, itertools.islice(load(config, max_in_memory_samples=1).train, 24))
    assert in_order == [str(number) for number in range(24)]


def test_a_tenth_is_kept_for_validation_and_never_trained_on(config: TrainingConfig) -> None:
    data = load(config, evaluation_strategy="steps")
    assert data.validation is not None
    kept = texts(config, data.validation)
    assert len(kept) == 2
    assert kept == texts(config, load(config, evaluation_strategy="steps").validation)
    trained = texts(config, itertools.islice(data.train, 44))
    assert set(trained) | set(kept) == {str(number) for number in range(24)}
    assert not set(trained) & set(kept)
    assert data.steps == 11
    assert len(load(config, evaluation_strategy="steps", validation_rows=1).validation or []) == 1


def test_a_stream_trains_validates_and_resumes_where_it_was(config: TrainingConfig, tmp_path: Path) -> None:
    config = replace(config, epochs=1.5, batch_size=4, evaluation_strategy="steps", save_steps=3)

    def losses(folder: Path, **options: Any) -> list[float]:
        trainer = build(config, load(config, max_in_memory_samples=5), folder)
        trainer.train(**options)
        assert trainer.state.global_step == 9
        return [row["loss"] for row in trainer.state.log_history if "loss" in row]

    whole = losses(tmp_path)
    assert losses(tmp_path, resume_from_checkpoint=str(tmp_path / "checkpoint-6"))[6:] == pytest.approx(whole[6:])


def test_unusable_rows_are_said_once(config: TrainingConfig, caplog: pytest.LogCaptureFixture) -> None:
    write_rows(Path(config.dataset_path), [*ROWS[:4], {"text": "x"}])
    for changes in ({}, {"max_steps": 5}):
        caplog.clear()
        stream = load(config, **changes).train
        list(itertools.islice(stream, 12))
        assert caplog.text.count("1 of 5 rows cannot be used") == 1


def test_a_stream_without_a_usable_row_ends(config: TrainingConfig) -> None:
    write_rows(Path(config.dataset_path), [{"text": "x"}])
    with pytest.raises(DatasetError, match="none of its 1 rows"):
        load(config)
    with pytest.raises(DatasetError, match="none of its 1 rows"):
        next(iter(load(config, max_steps=1).train))


def test_what_cannot_be_streamed(config: TrainingConfig, tmp_path: Path) -> None:
    for changes, reason in (
        ({"packing": True}, "set max_steps, or packing to false"),
        ({"group_by_length": True}, "cannot be sorted by length"),
        ({"pretokenized_cache": "x"}, "exclude each other"),
        ({"use_pretokenized": True}, "exclude each other"),
    ):
        with pytest.raises(ConfigError, match=reason):
            with_overrides(config, changes)
    with_overrides(config, {"packing": True, "max_steps": 5})
    path = tmp_path / "list.json"
    path.write_text(json.dumps(ROWS))
    with pytest.raises(DatasetError, match="JSON list has to be read as a whole"):
        load(config, dataset_path=str(path))


class FakeBuilder:
    """What datasets knows of a hub data set before reading it; ``None`` when its card does not give numbers."""

    def __init__(self, rows: int | None) -> None:
        splits = {"train": {"name": "train", "num_examples": rows}} if rows else None
        self.info = datasets.DatasetInfo(splits=splits)


def test_a_stream_from_the_hub_takes_its_declared_rows_or_asks_for_max_steps(
    config: TrainingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(config, dataset_path="someone/questions")
    monkeypatch.setattr(datasets, "load_dataset_builder", lambda *_: FakeBuilder(40))
    assert load(config).steps == 20
    monkeypatch.setattr(datasets, "load_dataset_builder", lambda *_: FakeBuilder(None))
    with pytest.raises(DatasetError, match=r"number of steps cannot be derived .set max_steps"):
        load(config)
    assert load(config, max_steps=7).steps == 7
    with pytest.raises(DatasetError, match="name validation_path"):
        load(config, max_steps=7, evaluation_strategy="steps")
