"""From a configuration to what the Trainer takes: splits, labels, templates, dpo, and the account of the rows."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase
from trl import DPOConfig, DPOTrainer, SFTTrainer

from sidestep.shared.chat_templates import TEMPLATES, template_named
from sidestep.shared.errors import ConfigError, DatasetError
from sidestep.shared.protocol.layout import ModelFolder
from sidestep.trainer.adapter_setup import adapter_config
from sidestep.trainer.arguments import training_arguments
from sidestep.trainer.config import TrainingConfig
from sidestep.trainer.data.tokens import IGNORED
from sidestep.trainer.dataset_loader import TrainingData, load_training_data
from sidestep.trainer.device_plan import DeviceFacts, plan_device
from sidestep.trainer.model_loader import load_base_model, load_tokenizer
from tests.unit.trainer.conftest import ROWS, write_rows

USER = {"role": "user", "content": "q"}
ANSWER = {"role": "assistant", "content": "a"}


def load(config: TrainingConfig, rows: list[Any] | None = None, **changes: Any) -> TrainingData:
    """The data of a configuration, with its file replaced by these rows."""
    if rows is not None:
        write_rows(Path(config.dataset_path), rows)
    config = replace(config, **changes)
    return load_training_data(config, load_tokenizer(config))


def learnt(tokenizer: PreTrainedTokenizerBase, row: dict[str, Any]) -> str:
    return str(tokenizer.decode([token for token in row["labels"] if token != IGNORED]))


def test_rows_reach_the_model_in_its_own_template_with_loss_on_the_answer(config: TrainingConfig) -> None:
    tokenizer = load_tokenizer(config)
    row = load(config).train[0]
    assert tokenizer.decode(row["input_ids"]) == (
        "<|im_start|>system\nAnswer.<|im_end|>\n<|im_start|>user\nquestion 0<|im_end|>\n"
        "<|im_start|>assistant\nanswer 0<|im_end|>\n"
    )
    assert learnt(tokenizer, row) == "answer 0<|im_end|>\n"


def test_every_assistants_turn_is_learnt_but_not_those_of_a_prompt(config: TrainingConfig) -> None:
    turns = [USER, ANSWER, {"role": "user", "content": "r"}, {"role": "assistant", "content": "b"}]
    tokenizer = load_tokenizer(config)
    both, last = load(config, [{"messages": turns}, {"prompt": turns[:3], "completion": turns[3:]}]).train
    assert learnt(tokenizer, both) == "a<|im_end|>\nb<|im_end|>\n"
    assert learnt(tokenizer, last) == "b<|im_end|>\n"


def test_a_template_that_rewrites_earlier_turns_leaves_them_unlearnt(config: TrainingConfig) -> None:
    tokenizer = load_tokenizer(config)
    tokenizer.chat_template = tokenizer.chat_template.replace(
        "{{ message['content'] }}",
        "{% if loop.last and message['role'] == 'assistant' %}<think></think>{% endif %}{{ message['content'] }}",
    )
    write_rows(Path(config.dataset_path), [{"messages": [USER, ANSWER, USER, {"role": "assistant", "content": "b"}]}])
    [row] = load_training_data(config, tokenizer).train
    assert learnt(tokenizer, row) == "<think></think>b<|im_end|>\n"


def test_plain_text_is_learnt_as_a_whole_where_its_column_is_named(config: TrainingConfig) -> None:
    [row] = load(config, [{"body": "plain"}], text_field="body").train
    assert learnt(load_tokenizer(config), row) == "plain<|im_end|>"  # and its end
    assert row["labels"] == row["input_ids"]


def test_field_mapping(config: TrainingConfig) -> None:
    rows = [{"ask": "q", "tell": "a", "text": "x"}]
    mapped = load(config, rows, field_mapping={"instruction": "ask", "output": "tell"}).train
    assert learnt(load_tokenizer(config), mapped[0]) == "a<|im_end|>\n"
    with pytest.raises(DatasetError, match=r"columns that do not exist: gone .it has ask, tell, text"):
        load(config, field_mapping={"instruction": "ask", "output": "tell", "input": "gone"})
    with pytest.raises(ConfigError, match="'colour' is not a role"):
        load(config, field_mapping={"colour": "ask"})
    with pytest.raises(ConfigError, match="two columns for output: a and b"):
        load(config, field_mapping={"output": "a", "response": "b"})


def test_unusable_rows_are_counted_and_sampled_with_their_reasons(
    config: TrainingConfig, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [*ROWS[:3], {"text": "x"}, {"text": "y"}, {"text": "z"}, {"text": "<|user|>\nq\n<|end|>"}, [1]]
    assert len(load(config, rows, max_seq_length=400).train) == 3
    lines = [record.getMessage() for record in caplog.records]
    assert f"{config.dataset_path}: 5 of 8 rows cannot be used" in lines
    [plain] = [line for line in lines if "not a conversation" in line]
    assert "3 × the text is not a conversation" in plain
    assert "line 4: {'text': 'x'}; line 5: {'text': 'y'}" in plain
    assert any("1 × it is not an object but a list; for example line 8: [1]" in line for line in lines)


def test_rows_cut_at_max_seq_length_are_counted(config: TrainingConfig, caplog: pytest.LogCaptureFixture) -> None:
    rows = [{"prompt": "q", "completion": "a" * length} for length in (5, 200)] + [{"prompt": "q" * 99, "sql": "a"}]
    data = load(config, rows, max_seq_length=64).train
    assert [len(row["input_ids"]) for row in data] == [len(data[0]["input_ids"]), 64]
    assert "1 rows are longer than max_seq_length" in caplog.text
    assert "1 × max_seq_length 64 cuts the answer off" in caplog.text


def test_a_template_that_refuses_a_row_is_a_reason(config: TrainingConfig, caplog: pytest.LogCaptureFixture) -> None:
    tokenizer = load_tokenizer(config)
    tokenizer.chat_template = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system message, please') }}{% endif %}"
        + tokenizer.chat_template
    )
    write_rows(Path(config.dataset_path), [ROWS[0], {"prompt": "q", "completion": "a"}])
    assert len(load_training_data(config, tokenizer).train) == 1
    assert "1 × the chat template refuses it: no system message, please" in caplog.text


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        ('{"text": \n', r"none of its 1 rows can be used; 1 × the line is not JSON"),
        ('{"text": "no conversation"}\n', "none of its 1 rows can be used; 1 × the text is not a conversation"),
    ],
)
def test_nothing_usable_is_one_clear_error(config: TrainingConfig, content: str, reason: str) -> None:
    Path(config.dataset_path).write_text(content)
    with pytest.raises(DatasetError, match=reason):
        load(config)


def test_validation_split_is_a_tenth_and_always_the_same(config: TrainingConfig) -> None:
    first, second = load(config, evaluation_strategy="steps"), load(config, evaluation_strategy="steps")
    assert first.validation is not None
    assert second.validation is not None
    assert (len(first.train), len(first.validation)) == (22, 2)
    assert first.validation["input_ids"] == second.validation["input_ids"]
    assert not {tuple(ids) for ids in first.train["input_ids"]} & {tuple(ids) for ids in first.validation["input_ids"]}
    assert load(config, evaluation_strategy="no").validation is None
    assert len(load(config, evaluation_strategy="steps", validation_rows=1).validation or []) == 1
    with pytest.raises(DatasetError, match="one row cannot be split"):
        load(config, ROWS[:1], evaluation_strategy="steps")


def test_validation_and_test_files(config: TrainingConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    paths: dict[str, Any] = {
        f"{name}_path": str(write_rows(tmp_path / f"{name}.jsonl", ROWS[:rows]))
        for name, rows in (("validation", 3), ("test", 2))
    }
    data = load(config, evaluation_strategy="steps", **paths)
    assert data.validation is not None
    assert data.test is not None
    assert (len(data.train), len(data.validation), len(data.test)) == (24, 3, 2)
    assert load(config, **paths).validation is None
    assert "validation_path has no effect while evaluation_strategy is no" in caplog.text


@pytest.mark.parametrize("name", TEMPLATES)
def test_templates_by_name_for_models_without_one(config: TrainingConfig, tiny_model: Path, name: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = template_named(name)
    text = tokenizer.apply_chat_template([USER, ANSWER], tokenize=False)
    prompt = tokenizer.apply_chat_template([USER], tokenize=False, add_generation_prompt=True)
    assert text.startswith(prompt.rstrip())
    assert text[len(prompt.rstrip()) :].strip().startswith("a")
    write_rows(Path(config.dataset_path), [{"prompt": "q", "completion": "the answer"}])
    [row] = load_training_data(config, tokenizer).train
    assert learnt(tokenizer, row).lstrip().startswith("the answer")
    assert "q" not in learnt(tokenizer, row)


def test_prompt_template_counts_only_where_the_model_has_none(
    config: TrainingConfig, tiny_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    own = AutoTokenizer.from_pretrained(tiny_model)
    assert load_tokenizer(replace(config, prompt_template="alpaca")).chat_template == own.chat_template
    load(config, prompt_template="alpaca")
    assert "own chat template is used, not prompt_template alpaca" in caplog.text
    bare = tmp_path / "bare"
    own.chat_template = None
    own.save_pretrained(bare)
    (bare / "config.json").write_text((tiny_model / "config.json").read_text())
    for given, name in (("alpaca", "alpaca"), (None, "chatml")):
        found = load_tokenizer(replace(config, base_model_path=str(bare), prompt_template=given))
        assert found.chat_template == template_named(name)


def test_modules_that_do_not_exist_are_refused_with_those_that_do(config: TrainingConfig) -> None:
    model, _ = load_base_model(config, plan_device(config, DeviceFacts("cpu", fast_bf16=False)))
    with pytest.raises(ConfigError, match=r"does not have: nowhere.*down_proj.*q_proj"):
        adapter_config(replace(config, target_modules=("q_proj", "nowhere")), model)


def test_dpo_rows_are_what_trls_trainer_takes(config: TrainingConfig, tmp_path: Path) -> None:
    rows = [
        {"prompt": "q", "chosen": "a", "rejected": "b"},
        {"input": {"instruction": "q", "hint": "h"}, "chosen": {"a": 1}, "rejected": "b"},
        {"prompt": "q" * 200, "chosen": "a", "rejected": "b"},
    ]
    data = load(config, rows, method="dpo").train
    assert data.column_names == ["prompt", "chosen", "rejected"]
    assert list(data) == [
        {"prompt": [USER], "chosen": [ANSWER], "rejected": [{"role": "assistant", "content": "b"}]},
        {
            "prompt": [{"role": "user", "content": "q\n\nhint:\nh"}],
            "chosen": [{"role": "assistant", "content": '{"a": 1}'}],
            "rejected": [{"role": "assistant", "content": "b"}],
        },
    ]
    model, tokenizer = load_base_model(config, plan_device(config, DeviceFacts("cpu", fast_bf16=False)))
    arguments = DPOConfig(output_dir=str(tmp_path), use_cpu=True, max_steps=1, report_to=[], max_length=128)
    trainer = DPOTrainer(model, args=arguments, train_dataset=data, processing_class=tokenizer,
                         peft_config=adapter_config(config, model))  # fmt: skip
    assert len(trainer.train_dataset) == 2
    assert trainer.train().training_loss > 0


def test_labels_arrive_at_the_model_as_they_were_made(config: TrainingConfig, tmp_path: Path) -> None:
    plan = plan_device(config, DeviceFacts("cpu", fast_bf16=False))
    model, tokenizer = load_base_model(config, plan)
    data = load(config).train
    trainer = SFTTrainer(
        model=model,
        args=training_arguments(config, plan, ModelFolder(tmp_path)),
        train_dataset=data,
        processing_class=tokenizer,
        peft_config=adapter_config(config, model),
    )
    assert len(trainer.train_dataset) == len(data)
    batch = next(iter(trainer.get_train_dataloader()))
    for ids, labels in zip(batch["input_ids"], batch["labels"], strict=True):
        text = tokenizer.decode([token for token, label in zip(ids, labels, strict=True) if label != IGNORED])
        assert text.startswith("answer ")
        assert text.rstrip("\n").endswith("<|im_end|>")
        assert "question" not in text


@pytest.mark.parametrize("streaming", [False, True])
def test_dataset_type_huggingface_asks_the_hub_even_for_a_name_that_looks_local(
    config: TrainingConfig, streaming: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def load_dataset(*names: Any, **options: Any) -> datasets.Dataset:
        asked.append((*names, options))
        return datasets.Dataset.from_list([{"prompt": "q", "completion": "a"}] * 3)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    path = f"{Path(config.dataset_path).parent}::validation::large"
    changes: dict[str, Any] = {
        "dataset_type": "huggingface",
        "dataset_path": path,
        "streaming": streaming,
        "max_steps": 1,
    }
    next(iter(load(config, **changes).train))
    expected = {"split": "validation", "streaming": streaming}
    assert asked == [(str(Path(config.dataset_path).parent), "large", expected)]
    assert len(load(config, dataset_path=str(Path(config.dataset_path).parent)).train) == 24  # else it is the folder
