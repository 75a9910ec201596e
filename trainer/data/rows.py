"""One row of a data set, in any of the shapes found in the wild, to what is to be learnt from it.

A row that cannot be used raises UnusableRow with the reason, which ends in the log: nothing is left out in silence.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from sidestep.trainer.config.data_options import RowShape
from sidestep.trainer.data.chat import ChatMessage, NoConversation, parse_conversation

Row = dict[str, Any]

# A row can be learnt from up to max_seq_length tokens; beyond this many characters it is a mistake, not a row.
MAX_CHARACTERS = 4_000_000

# Names seen in the wild, in the order in which they are tried.
FALL_BACKS = {
    "messages": ("messages", "conversations", "conversation"),
    "text": ("text",),
    "instruction": ("instruction", "prompt", "question", "sql_prompt"),
    "input": ("input", "context", "schema", "sql_context"),
    "output": ("response", "output", "answer", "completion", "cypher", "sql"),
    "system": ("system", "system_prompt"),
    "chosen": ("chosen",),
    "rejected": ("rejected",),
}
_SPEAKERS = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}


class UnusableRow(ValueError):
    """Nothing can be learnt from this row; the message says why."""


@dataclass(frozen=True)
class Example:
    """What is learnt from one row: the assistant's turns of ``messages`` from ``learn_from`` on, or all of ``text``.

    For dpo, ``messages`` ends with the better answer, and ``rejected`` is the worse one.
    """

    messages: tuple[ChatMessage, ...] = ()
    learn_from: int = 0
    text: str | None = None
    rejected: ChatMessage | None = None

    @property
    def prompt(self) -> tuple[ChatMessage, ...]:
        return self.messages[:-1]

    @property
    def answer(self) -> str:
        return self.messages[-1]["content"] if self.messages else self.text or ""


def to_example(row: Any, shape: RowShape) -> Example:
    """What to learn from a row. Raises UnusableRow with the reason when there is nothing."""
    if not isinstance(row, dict):
        raise UnusableRow(f"it is not an object but {_kind(row)}")
    example = _preference(row, shape) if shape.method == "dpo" else _demonstration(row, shape)
    _check_texts(example)
    return example


def _demonstration(row: Row, shape: RowShape) -> Example:
    """Shapes named by field_mapping or text_field go first, then those that are recognised."""
    mapped = shape.mapped
    if "messages" in mapped:
        return _conversation(_column(row, shape, "messages"))
    if "text" in mapped:
        return _text(_column(row, shape, "text"), plain=True)
    if "instruction" in mapped or "output" in mapped:
        return _instruction(row, shape)
    if (turns := _column(row, shape, "messages")) is not None:
        return _conversation(turns)
    text = _column(row, shape, "text")
    if text is not None and (_answer_column(row, shape) is None or _is_conversation(text)):
        return _text(text, plain=False)
    return _instruction(row, shape)


def _column(row: Row, shape: RowShape, role: str) -> Any:
    """What the row has for a role: in the mapped column, else in the first of the usual ones that is not null."""
    if (name := shape.mapped.get(role)) is not None:
        if name not in row and role not in ("input", "system"):
            raise UnusableRow(f"it has no column {name}, only {_columns(row)}")
        return row.get(name)
    return next((row[name] for name in FALL_BACKS[role] if row.get(name) is not None), None)


def _answer_column(row: Row, shape: RowShape) -> Any:
    """The answer: an output, or in rows made for dpo the better one."""
    output = _column(row, shape, "output")
    return output if output is not None else _column(row, shape, "chosen")


def _is_conversation(text: Any) -> bool:
    try:
        return isinstance(text, str) and bool(parse_conversation(text))
    except NoConversation:
        return True  # a broken one: said as such


def _text(text: Any, *, plain: bool) -> Example:
    """A conversation written down as text, or, where the user named the column, a plain text to learn as a whole."""
    if not isinstance(text, str):
        raise UnusableRow(f"the text is not a text but {_kind(text)}")
    try:
        messages = parse_conversation(text)
    except NoConversation as error:
        raise UnusableRow(str(error)) from error
    if messages:
        return _ending_with_answer(messages)
    if not text.strip():
        raise UnusableRow("the text is empty")
    if not plain:
        raise UnusableRow("the text is not a conversation (to learn plain text, name its column in text_field)")
    return Example(text=text)


def _conversation(turns: Any) -> Example:
    return _ending_with_answer(_messages(turns))


def _messages(turns: Any) -> list[ChatMessage]:
    if not isinstance(turns, list):
        raise UnusableRow(f"the messages are not a list but {_kind(turns)}")
    messages: list[ChatMessage] = []
    for turn in turns:
        if not isinstance(turn, dict):
            raise UnusableRow(f"a message is not an object but {_kind(turn)}")
        speaker = turn.get("role") if turn.get("role") is not None else turn.get("from")
        role = _SPEAKERS.get(speaker) if isinstance(speaker, str) else None
        if role is None:
            raise UnusableRow("a message has no known role")
        content = turn.get("content") if turn.get("content") is not None else turn.get("value")
        if not isinstance(content, str):
            raise UnusableRow(f"a message's content is not a text but {_kind(content)}")
        messages.append(ChatMessage(role=role, content=content))
    return messages


def _ending_with_answer(messages: list[ChatMessage]) -> Example:
    """All turns up to the assistant's last one; what follows it has no answer to learn."""
    last = max((at for at, message in enumerate(messages) if message["role"] == "assistant"), default=-1)
    if last < 1 or not messages[last]["content"].strip():
        raise UnusableRow("there is no assistant's turn with a text, after another turn")
    return Example(tuple(messages[: last + 1]))


def _instruction(row: Row, shape: RowShape) -> Example:
    answer = _answer_column(row, shape)
    if isinstance(answer, list) and answer and all(isinstance(turn, dict) and "role" in turn for turn in answer):
        completion = _messages(answer)  # as TRL writes them: prompt and completion are both lists of messages
        before = [*_question(row, shape), *completion]
        return Example(_ending_with_answer(before).messages, learn_from=len(before) - len(completion))
    question = _question(row, shape)
    return Example((*question, ChatMessage(role="assistant", content=_answer(answer, "answer"))), len(question))


def _preference(row: Row, shape: RowShape) -> Example:
    """A prompt with a better and a worse answer; either may come as messages, with or without the prompt in them."""
    chosen, rejected = _column(row, shape, "chosen"), _column(row, shape, "rejected")
    if isinstance(chosen, list) and isinstance(rejected, list):
        better, worse = _messages(chosen), _messages(rejected)
        if len(better) > 1 and better[:-1] == worse[:-1]:
            prompt = better[:-1]
        elif len(better) == len(worse) == 1:
            prompt = _question(row, shape)
        else:
            raise UnusableRow("chosen and rejected do not answer the same prompt")
        pair = [better[-1]["content"], worse[-1]["content"]]
    else:
        prompt = _question(row, shape)
        pair = [chosen, rejected]
    texts = [_answer(value, name) for value, name in zip(pair, ("chosen", "rejected"), strict=True)]
    if texts[0] == texts[1]:
        raise UnusableRow("chosen and rejected are the same")
    better_turn, worse_turn = (ChatMessage(role="assistant", content=text) for text in texts)
    return Example((*prompt, better_turn), len(prompt), rejected=worse_turn)


def _question(row: Row, shape: RowShape) -> list[ChatMessage]:
    """System and user turns: from a task's input object, a list of messages, or instruction and input columns."""
    extra = _column(row, shape, "input")
    instruction = _column(row, shape, "instruction")
    if instruction is None and isinstance(extra, dict):
        instruction = extra.get("instruction")
        extra = {name: value for name, value in extra.items() if name != "instruction"}
    if isinstance(instruction, list):
        if not instruction:
            raise UnusableRow("the instruction is empty")
        return _messages(instruction)
    if instruction is None:
        raise UnusableRow(f"no usable column: it has {_columns(row)}")
    if not isinstance(instruction, str):
        raise UnusableRow(f"the instruction is not a text but {_kind(instruction)}")
    if not instruction.strip():
        raise UnusableRow("the instruction is empty")
    system = _column(row, shape, "system")
    if system is not None and not isinstance(system, str):
        raise UnusableRow(f"the system message is not a text but {_kind(system)}")
    messages = [ChatMessage(role="system", content=system)] if system else []
    return [*messages, ChatMessage(role="user", content="\n\n".join([instruction, *_context(extra)]))]


def _context(extra: Any) -> list[str]:
    """Paragraphs below the instruction: the input as it is, or one ``name:`` paragraph for each part of an object."""
    if extra is None:
        return []
    if isinstance(extra, dict):
        parts = {str(name): _as_text(value) for name, value in extra.items() if value is not None}
        return [f"{name}:\n{text}" for name, text in parts.items() if text.strip()]
    text = _as_text(extra)
    return [text] if text.strip() else []


def _answer(value: Any, name: str) -> str:
    if value is None:
        raise UnusableRow(f"there is no {name}")
    text = _as_text(value)
    if not text.strip():
        raise UnusableRow(f"the {name} is empty")
    return text


def _as_text(value: Any) -> str:
    """Texts as they are; numbers and JSON values as compact JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and not math.isfinite(value):
        raise UnusableRow("a value is not a finite number")
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise UnusableRow(f"a value is neither text nor JSON: {_kind(value)}") from error


def _check_texts(example: Example) -> None:
    """No text may hold half a character, and none may be of a size that only a mistake explains."""
    texts = [message["content"] for message in example.messages] + [example.text or ""]
    texts += [example.rejected["content"]] if example.rejected else []
    if sum(map(len, texts)) > MAX_CHARACTERS:
        raise UnusableRow(f"it is longer than {MAX_CHARACTERS:,} characters")
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise UnusableRow("it has half of a surrogate pair, which is not a character") from error


def _columns(row: Row) -> str:
    names = [str(name)[:40] for name in row]
    return ", ".join(names[:12]) + (" …" if len(names) > 12 else "") or "none"


def _kind(value: Any) -> str:
    names = {type(None): "null", dict: "an object", list: "a list", str: "a text", bool: "true or false"}
    return names.get(type(value), "a number" if isinstance(value, (int, float)) else type(value).__name__)
