"""Rows nobody would write on purpose: each is either learnt from or left out with a reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from sidestep.trainer.config.data_options import RowShape
from sidestep.trainer.data.chat import parse_conversation
from sidestep.trainer.data.file_formats import read_csv, read_json_lines
from sidestep.trainer.data.preparation import Preparation
from sidestep.trainer.data.report import RowReport
from sidestep.trainer.data.rows import FALL_BACKS, Example, UnusableRow, to_example
from sidestep.trainer.data.tokens import IGNORED

SHAPES = [
    RowShape(),
    RowShape(method="dpo"),
    RowShape(text_field="text"),
    RowShape(columns=(("instruction", "question"), ("output", "sql"))),
]
COLUMNS = sorted({name for names in FALL_BACKS.values() for name in names} | {"task", "elsewhere"})

marks = st.sampled_from(["<|user|>", "<|assistant|>", "<|end|>", "<|im_start|>user\n", "<|im_end|>", "\n", "a", ""])
texts = st.one_of(
    st.text(st.characters(codec=None), max_size=20),  # every code point, halves of surrogate pairs too
    st.lists(marks, max_size=8).map("".join),
)
scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), texts)
turns = st.fixed_dictionaries({}, optional={
    "role": st.one_of(st.sampled_from(["user", "assistant", "system", "tool"]), scalars), "content": scalars,
    "from": st.sampled_from(["human", "gpt"]), "value": texts,
})  # fmt: skip
names = st.sampled_from(["instruction", "schema", "role"])
values = st.recursive(
    st.one_of(scalars, st.lists(turns, max_size=4)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(names, inner, max_size=3)),
    max_leaves=6,
)
rows = st.one_of(values, st.dictionaries(st.sampled_from(COLUMNS), values, max_size=5))


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(tiny_model)


@given(row=rows, shape=st.sampled_from(SHAPES))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_a_row_is_an_example_or_has_a_reason(row: Any, shape: RowShape) -> None:
    try:
        example = to_example(row, shape)
    except UnusableRow as reason:
        assert str(reason)
        return
    assert isinstance(example, Example)
    assert example.answer.strip()
    for message in example.messages:
        message["content"].encode()
    if example.messages:
        assert example.messages[-1]["role"] == "assistant"
        assert example.prompt
    assert (example.rejected is not None) is (shape.method == "dpo")


@given(batch=st.lists(rows, max_size=6), shape=st.sampled_from(SHAPES), longest=st.integers(1, 64))
@settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_row_is_accounted_for(
    tokenizer: PreTrainedTokenizerBase, batch: list[Any], shape: RowShape, longest: int
) -> None:
    report = RowReport("hostile")
    taken = list(Preparation(shape, tokenizer, longest).stream(((str(n), row) for n, row in enumerate(batch)), report))
    assert report.taken == len(taken)
    assert report.seen == len(batch)
    for row in taken if shape.method == "sft" else []:
        assert len(row["input_ids"]) == len(row["labels"]) <= longest
        assert any(label != IGNORED for label in row["labels"])
    report.write()  # whatever the rows held can be printed


@given(content=st.binary(max_size=200) | st.lists(rows.map(lambda row: json.dumps(row).encode())).map(b"\n".join))
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_lines_that_are_rows_or_not(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    path.write_bytes(content)
    found = list(read_json_lines(path, False))
    assert len(found) == sum(bool(line.removeprefix(b"\xef\xbb\xbf").strip()) for line in content.split(b"\n"))


letters = st.characters(exclude_characters="<\r", codec="utf-8")
contents = st.text(letters, max_size=20).map(lambda text: text.strip("\n"))


@given(messages=st.lists(st.tuples(st.sampled_from(["system", "user", "assistant"]), contents), min_size=1, max_size=5))
@settings(max_examples=60, deadline=None, derandomize=True)
@pytest.mark.parametrize("form", ["<|{0}|>\n{1}\n<|end|>", "<|im_start|>{0}\n{1}<|im_end|>"])
def test_what_is_written_down_is_read_back(form: str, messages: list[tuple[str, str]]) -> None:
    text = "\n".join(form.format(role, content) for role, content in messages)
    assert parse_conversation(text) == [{"role": role, "content": content} for role, content in messages]


def test_a_huge_row_costs_no_tokenization(tokenizer: PreTrainedTokenizerBase) -> None:
    report = RowReport("huge")
    row = {"prompt": "q", "completion": "x" * 50_000_000}
    assert list(Preparation(RowShape(), tokenizer, 64).stream([("line 1", row)], report)) == []
    assert list(report.left_out) == ["it is longer than 4,000,000 characters"]


def test_deep_nesting_is_a_reason(tokenizer: PreTrainedTokenizerBase) -> None:
    deep: Any = "end"
    for _ in range(100_000):
        deep = [deep]
    report = RowReport("deep")
    rows = [("line 1", {"prompt": "q", "completion": deep})]
    assert list(Preparation(RowShape(), tokenizer, 64).stream(rows, report)) == []
    report.write()


def test_csv_with_any_quoting(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('prompt,completion\n"a\nb","c\x00d"\n', newline="")
    [(_, row)] = read_csv(path, False)
    assert row == {"prompt": "a\nb", "completion": "c\x00d"}
