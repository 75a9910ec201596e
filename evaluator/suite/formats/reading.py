"""From a file to rows of test cases, by its ending: JSON, JSON lines, YAML, and promptfoo's configuration.

JSON lines may be cases of our own, chat messages as they are used for fine-tuning (the last answer becomes the
reference), or rows with a question and an answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import yaml

from sidestep.evaluator.suite.formats import promptfoo
from sidestep.shared.errors import SuiteError
from sidestep.shared.files import read_bounded
from sidestep.shared.json_input import read_json

MAX_SUITE_BYTES = 64 << 20
_PROMPTS = ("question", "instruction", "query")
_ANSWERS = ("completion", "answer", "response", "output", "expected", "expected_output")


def read_rows(path: Path) -> tuple[Mapping[str, Any], list[Any]]:
    """What the file says about the suite, and its cases as they stand there. Raises SuiteError."""
    if path.suffix == ".jsonl":
        return {}, [conversational(row) for row in _json_lines(path)]
    document = read_document(path)
    if promptfoo.is_promptfoo(document):
        head = {"test_suite": document.get("description") or path.stem}
        return head, promptfoo.cases_of(document, path)
    head = document if isinstance(document, dict) else {}
    rows = head.get("test_cases", head.get("cases")) if head else document
    if not isinstance(rows, list):
        raise SuiteError(f"{path} has no list of test cases", hint='write {"test_cases": [{"id": …, "prompt": …}]}')
    return head, rows


def read_document(path: Path) -> Any:
    """What is in a JSON or YAML file."""
    return _yaml(path) if path.suffix in (".yaml", ".yml") else read_json(path, MAX_SUITE_BYTES, SuiteError)


def conversational(row: Any) -> Any:
    """A row of training data as a case: an answer at the end of a conversation, or beside a question, is the reference.

    Content in parts is joined, as long as all parts are text. Rows that are cases already stay as they are.
    """
    if not isinstance(row, dict):
        return row
    messages = row.get("messages")
    if isinstance(messages, list) and messages and all(isinstance(each, dict) for each in messages):
        plain = [{"role": each.get("role"), "content": _text(each.get("content"))} for each in messages]
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


def _text(content: Any) -> Any:
    if isinstance(content, list) and all(isinstance(each, dict) and each.get("type") == "text" for each in content):
        return "".join(str(each.get("text", "")) for each in content)
    return content


def _json_lines(path: Path) -> list[Any]:
    rows = []
    for number, line in enumerate(_content(path).splitlines(), 1):
        if not line.strip():
            continue
        try:
            rows.append(orjson.loads(line))
        except orjson.JSONDecodeError as error:
            raise SuiteError(
                f"{path} is not valid JSON lines: {error.msg} at line {number}, column {error.colno}",
                hint="correct the file there",
            ) from error
    return rows


def _yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(_content(path))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or error
        raise SuiteError(f"{path} is not valid YAML: {problem}{where}", hint="correct the file there") from error


def _content(path: Path) -> bytes:
    try:
        return read_bounded(path.resolve(), MAX_SUITE_BYTES)
    except FileNotFoundError as error:
        raise SuiteError(f"{path}: no such file") from error
    except OSError as error:
        raise SuiteError(f"{path} cannot be read: {error.strerror}") from error
