"""Rows from the shapes found in the wild; only the assistant's part is learnt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer
from trl import SFTTrainer

from shared.chat_templates import TEMPLATES, template_named
from shared.errors import ConfigError, DatasetError
from shared.layout import ModelFolder
from tests.unit.trainer.conftest import ROWS, write_rows
from trainer.adapter_setup import adapter_config
from trainer.arguments import training_arguments
from trainer.chat import parse_conversation
from trainer.config import TrainingConfig
from trainer.config_reading import from_host
from trainer.dataset_loader import load_rows, load_training_data
from trainer.device_plan import DeviceFacts, plan_device
from trainer.model_loader import load_base_model


@pytest.fixture
def config(host_config: Callable[..., dict[str, Any]]) -> TrainingConfig:
    return from_host(host_config())


USER = {"role": "user", "content": "q"}
ANSWER = {"role": "assistant", "content": "a"}


@pytest.mark.parametrize(
    ("row", "prompt", "answer"),
    [
        (ROWS[0], [{"role": "system", "content": "Answer."}, {"role": "user", "content": "question 0"}], "answer 0"),
        ({"text": "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\na<|im_end|>"}, [USER], "a"),
        ({"messages": [USER, ANSWER]}, [USER], "a"),
        ({"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}, [USER], "a"),
        ({"messages": [USER, ANSWER, USER, {"role": "assistant", "content": "b"}]}, [USER, ANSWER, USER], "b"),
        ({"instruction": "q", "response": "a"}, [USER], "a"),
        ({"instruction": "q", "input": "more", "output": "a"}, [{"role": "user", "content": "q\n\nmore"}], "a"),
        ({"question": "q", "sql": "a"}, [USER], "a"),
        ({"sql_prompt": "q", "cypher": "a", "system": "s"}, [{"role": "system", "content": "s"}, USER], "a"),
        ({"prompt": "q", "completion": "a"}, [USER], "a"),
    ],
)
def test_shapes(config: TrainingConfig, tmp_path: Path, row: dict[str, Any], prompt: list[Any], answer: str) -> None:
    [loaded] = load_rows(config, str(write_rows(tmp_path / "rows.jsonl", [row])))
    assert [dict(message) for message in loaded["prompt"]] == prompt
    assert loaded["completion"] == [{"role": "assistant", "content": answer}]


def test_field_mapping(config: TrainingConfig, tmp_path: Path) -> None:
    path = str(write_rows(tmp_path / "rows.jsonl", [{"ask": "q", "tell": "a"}]))
    mapped = replace(config, field_mapping={"instruction": "ask", "output": "tell"})
    assert load_rows(mapped, path)[0]["completion"] == [ANSWER]
    with pytest.raises(DatasetError, match="no usable column: it has ask, tell"):
        load_rows(config, path)
    with pytest.raises(DatasetError, match="columns that do not exist: gone"):
        load_rows(replace(config, field_mapping={"instruction": "gone"}), path)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("none.jsonl", None, "does not exist"),
        ("empty.jsonl", "", "is empty"),
        ("broken.jsonl", '{"text": \n', "cannot be read as json"),
        ("rows.weird", "x", "unknown format"),
        ("rows.jsonl", '{"text": "no conversation"}\n', "none of its 1 rows can be used"),
    ],
)
def test_bad_data_is_one_clear_error(
    config: TrainingConfig, tmp_path: Path, name: str, content: str | None, reason: str
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(DatasetError, match=reason):
        load_rows(replace(config, format=None), str(tmp_path / name))


def test_unusable_rows_are_left_out(config: TrainingConfig, tmp_path: Path) -> None:
    rows = [
        *ROWS[:3],
        {"text": "x"},
        {"text": "<|user|>\nq\n<|end|>"},
        {"text": "<|user|>\nq\n<|end|>\n<|assistant|>\n\n<|end|>"},
    ]
    assert len(load_rows(config, str(write_rows(tmp_path / "rows.jsonl", rows)))) == 3


def test_validation_split_is_a_tenth_and_always_the_same(config: TrainingConfig) -> None:
    config = replace(config, evaluation_strategy="steps")
    first, second = load_training_data(config), load_training_data(config)
    assert first.validation is not None
    assert second.validation is not None
    assert (len(first.train), len(first.validation)) == (22, 2)
    assert first.validation["completion"] == second.validation["completion"]
    capped = load_training_data(replace(config, validation_rows=1)).validation
    assert capped is not None
    assert len(capped) == 1


def test_only_the_assistants_part_and_its_end_are_learnt(
    config: TrainingConfig, tiny_model: Path, tmp_path: Path
) -> None:
    plan = plan_device(config, DeviceFacts("cpu", fast_bf16=False))
    model, tokenizer = load_base_model(config, plan)
    trainer = SFTTrainer(
        model=model,
        args=training_arguments(config, plan, ModelFolder(tmp_path)),
        train_dataset=load_training_data(config).train,
        processing_class=tokenizer,
        peft_config=adapter_config(config, model),
    )
    batch = next(iter(trainer.get_train_dataloader()))
    for ids, labels in zip(batch["input_ids"], batch["labels"], strict=True):
        learnt = tokenizer.decode([token for token, label in zip(ids, labels, strict=True) if label != -100])
        assert learnt.startswith("answer ")
        assert learnt.rstrip("\n").endswith("<|im_end|>")
        assert "question" not in learnt


def test_modules_that_do_not_exist_are_refused_with_those_that_do(config: TrainingConfig) -> None:
    model, _ = load_base_model(config, plan_device(config, DeviceFacts("cpu", fast_bf16=False)))
    with pytest.raises(ConfigError, match=r"does not have: nowhere.*down_proj.*q_proj"):
        adapter_config(replace(config, target_modules=("q_proj", "nowhere")), model)


@pytest.mark.parametrize("name", TEMPLATES)
def test_templates_render_prompt_and_answer(tiny_model: Path, name: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = template_named(name)
    text = tokenizer.apply_chat_template([USER, ANSWER], tokenize=False)
    prompt = tokenizer.apply_chat_template([USER], tokenize=False, add_generation_prompt=True)
    assert text.startswith(prompt.rstrip())
    assert text[len(prompt.rstrip()) :].strip().startswith("a")
    with pytest.raises(ConfigError, match="unknown prompt_template"):
        template_named("none")


def test_text_that_is_no_conversation() -> None:
    assert parse_conversation("plain text") == []
