"""One row at a time: every shape found in the wild, and the reason for each row that cannot be used."""

from __future__ import annotations

from typing import Any

import pytest

from sidestep.trainer.data.chat import ChatMessage, NoConversation, parse_conversation
from sidestep.trainer.data.options import RowShape
from sidestep.trainer.data.rows import MAX_CHARACTERS, Example, UnusableRow, to_example
from tests.unit.trainer.conftest import ROWS

SFT, DPO = RowShape(), RowShape(method="dpo")
USER: ChatMessage = {"role": "user", "content": "q"}
ANSWER: ChatMessage = {"role": "assistant", "content": "a"}
SYSTEM = {"role": "system", "content": "s"}


def mapped(**columns: str) -> RowShape:
    return RowShape(columns=tuple(columns.items()))


@pytest.mark.parametrize(
    ("row", "prompt", "answer"),
    [
        (ROWS[0], [{"role": "system", "content": "Answer."}, {"role": "user", "content": "question 0"}], "answer 0"),
        ({"text": "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\na<|im_end|>\n<|endoftext|>"}, [USER], "a"),
        ({"messages": [USER, ANSWER]}, [USER], "a"),
        ({"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}, [USER], "a"),
        ({"messages": [USER, ANSWER, USER, {"role": "assistant", "content": "b"}, USER]}, [USER, ANSWER, USER], "b"),
        ({"prompt": [SYSTEM, USER], "completion": [ANSWER]}, [SYSTEM, USER], "a"),
        ({"instruction": "q", "response": "a"}, [USER], "a"),
        ({"instruction": "q", "input": "more", "output": "a"}, [{"role": "user", "content": "q\n\nmore"}], "a"),
        ({"instruction": "q", "input": "", "output": "a", "text": "Below is an instruction"}, [USER], "a"),
        ({"question": "q", "schema": "t(x)", "cypher": "a"}, [{"role": "user", "content": "q\n\nt(x)"}], "a"),
        ({"question": "q", "context": None, "answer": 42}, [USER], "42"),
        ({"sql_prompt": "q", "sql": "a", "system": "s"}, [SYSTEM, USER], "a"),
        ({"prompt": "q", "completion": {"a": ["é", None]}}, [USER], '{"a": ["é", null]}'),
        ({"prompt": "q", "chosen": "a", "rejected": "b"}, [USER], "a"),
        (
            {"task": "t", "input": {"instruction": "q", "schema": {"type": "object"}, "hint": None}, "output": "a"},
            [{"role": "user", "content": 'q\n\nschema:\n{"type": "object"}'}],
            "a",
        ),
    ],
)
def test_shapes(row: dict[str, Any], prompt: list[Any], answer: str) -> None:
    example = to_example(row, SFT)
    assert list(example.prompt) == prompt
    assert example.messages[-1] == {"role": "assistant", "content": answer}


@pytest.mark.parametrize("name", ["instruction", "prompt", "question", "sql_prompt"])
@pytest.mark.parametrize("answer", ["response", "output", "answer", "completion", "cypher", "sql"])
def test_fall_back_columns(name: str, answer: str) -> None:
    assert to_example({name: "q", answer: "a"}, SFT) == Example((USER, ANSWER), learn_from=1)


def test_field_mapping_goes_before_everything_that_would_be_recognised() -> None:
    row = {
        "text": ROWS[0]["text"],
        "messages": [USER, ANSWER],
        "ask": "q",
        "tell": "a",
        "instruction": "x",
        "more": "m",
    }
    shape = mapped(instruction="ask", output="tell", input="more")
    assert to_example(row, shape).messages == ({"role": "user", "content": "q\n\nm"}, ANSWER)
    assert to_example(row, mapped(messages="messages")).messages == (USER, ANSWER)
    with pytest.raises(UnusableRow, match=r"no column gone, only text, messages, ask"):
        to_example(row, mapped(instruction="gone", output="tell"))


def test_text_field_takes_plain_text_as_a_whole_and_conversations_as_such() -> None:
    shape = RowShape(text_field="body")
    assert to_example({"body": "plain words", "instruction": "q", "output": "a"}, shape).text == "plain words"
    assert to_example({"body": ROWS[1]["text"]}, shape).answer == "answer 1"


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "q", "chosen": "a", "rejected": "b"},
        {"prompt": [USER], "chosen": [ANSWER], "rejected": [{"role": "assistant", "content": "b"}]},
        {"prompt": "unused", "chosen": [USER, ANSWER], "rejected": [USER, {"role": "assistant", "content": "b"}]},
        {"task": "t", "input": {"instruction": "q"}, "chosen": "a", "rejected": "b"},
    ],
)
def test_preferences(row: dict[str, Any]) -> None:
    example = to_example(row, DPO)
    assert example.messages == (USER, ANSWER)
    assert example.rejected == {"role": "assistant", "content": "b"}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "q", "chosen": "a"}, "there is no rejected"),
        ({"prompt": "q", "chosen": "a", "rejected": "a"}, "the same"),
        ({"prompt": "q", "chosen": [USER, ANSWER], "rejected": [SYSTEM, ANSWER]}, "do not answer the same prompt"),
        ({"chosen": "a", "rejected": "b"}, "no usable column: it has chosen, rejected"),
    ],
)
def test_preferences_that_are_none(row: dict[str, Any], reason: str) -> None:
    with pytest.raises(UnusableRow, match=reason):
        to_example(row, DPO)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (None, "not an object but null"),
        (["a"], "not an object but a list"),
        ({}, "no usable column: it has none"),
        ({"ask": "q"}, "no usable column: it has ask"),
        ({"text": "plain"}, "not a conversation"),
        ({"text": 7}, "the text is not a text but a number"),
        ({"text": ""}, "the text is empty"),
        ({"text": "<|user|>\nq\n<|end|>"}, "no assistant's turn"),
        ({"text": "<|user|>\nq\n<|end|>\n<|assistant|>\n\n<|end|>"}, "no assistant's turn"),
        ({"text": "<|user|>\nq\n<|end|>\n<|assistant|>\na"}, "a turn is not closed"),
        ({"text": "<|user|>\nq\n<|assistant|>\na\n<|end|>"}, "a turn is not closed"),
        ({"text": "<|user|>\nq\n<|end|>\nstray\n<|assistant|>\na\n<|end|>"}, "text outside the turns"),
        ({"messages": "q"}, "not a list but a text"),
        ({"messages": [USER, "a"]}, "a message is not an object but a text"),
        ({"messages": [USER, {"role": "tool", "content": "a"}]}, "no known role"),
        ({"messages": [USER, {"role": ["assistant"], "content": "a"}]}, "no known role"),
        ({"messages": [USER, {"role": "assistant", "content": None}]}, "content is not a text but null"),
        ({"messages": [ANSWER]}, "after another turn"),
        ({"instruction": "q", "output": None}, "there is no answer"),
        ({"instruction": "q", "output": " \n"}, "the answer is empty"),
        ({"instruction": "q", "output": float("nan")}, "not a finite number"),
        ({"instruction": "q", "output": [float("inf")]}, "neither text nor JSON"),
        ({"instruction": 5, "output": "a"}, "the instruction is not a text but a number"),
        ({"instruction": "  ", "output": "a"}, "the instruction is empty"),
        ({"prompt": [], "completion": "a"}, "the instruction is empty"),
        ({"instruction": "q", "output": "a", "system": 1}, "the system message is not a text"),
        ({"instruction": "q", "output": "\ud800"}, "half of a surrogate pair"),
        ({"instruction": "q", "output": "x" * (MAX_CHARACTERS + 1)}, "longer than 4,000,000 characters"),
    ],
)
def test_rows_that_cannot_be_used_say_why(row: Any, reason: str) -> None:
    with pytest.raises(UnusableRow, match=reason):
        to_example(row, SFT)


def test_text_without_marks_is_no_conversation_and_a_broken_one_is_said() -> None:
    assert parse_conversation("plain text") == []
    with pytest.raises(NoConversation):
        parse_conversation("a <|end|>")
