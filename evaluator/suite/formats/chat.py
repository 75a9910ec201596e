"""Rows of training data as test cases: chat messages as they are used for fine-tuning, or a question and an answer.

The answer at the end of a conversation, or beside a question, becomes the case's reference.
"""

from __future__ import annotations

from typing import Any

_PROMPTS = ("question", "instruction", "query")
_ANSWERS = ("completion", "answer", "response", "output", "expected", "expected_output")


def to_case_row(row: Any) -> Any:
    """The row as a case of our own shape. Content in parts is joined, as long as all parts are text.

    Rows that are cases already stay as they are.
    """
    if not isinstance(row, dict):
        return row
    messages = row.get("messages")
    if isinstance(messages, list) and messages and all(isinstance(message, dict) for message in messages):
        plain = [{"role": message.get("role"), "content": _join(message.get("content"))} for message in messages]
        if plain[-1]["role"] == "assistant" and len(plain) > 1:
            row = {"reference": plain.pop()["content"], **row}
        return {**row, "messages": plain}
    prompt = next((name for name in _PROMPTS if name in row), None)
    if prompt and not {"prompt", "input", "user_prompt"} & set(row):
        row = {("prompt" if key == prompt else key): value for key, value in row.items()}
    answer = next((name for name in _ANSWERS if isinstance(row.get(name), str)), None)
    if answer and "reference" not in row:
        row = {("reference" if key == answer else key): value for key, value in row.items()}
    return row


def _join(content: Any) -> Any:
    """The text of a message's content, which may come in parts; content with anything but text stays as it is."""
    if isinstance(content, list) and all(isinstance(part, dict) and part.get("type") == "text" for part in content):
        return "".join(str(part.get("text", "")) for part in content)
    return content
