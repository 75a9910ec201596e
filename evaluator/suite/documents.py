"""From a file to rows of test cases, by its ending and by what is in it: JSON, JSON lines, YAML, promptfoo, chat."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import yaml

from sidestep.evaluator.suite.formats import chat, promptfoo
from sidestep.shared.errors import SuiteError
from sidestep.shared.files import read_bounded
from sidestep.shared.json_input import read_json

MAX_SUITE_BYTES = 64 << 20


def read_rows(path: Path) -> tuple[Mapping[str, Any], list[Any]]:
    """What the file says about the suite, and its cases as given there. Raises SuiteError."""
    if path.suffix == ".jsonl":
        return {}, [chat.to_case_row(row) for row in _read_json_lines(path)]
    document = read_document(path)
    if promptfoo.is_promptfoo(document):
        head = {"test_suite": document.get("description") or path.stem}
        return head, promptfoo.to_case_rows(document, path)
    head = document if isinstance(document, dict) else {}
    rows = head.get("test_cases", head.get("cases")) if head else document
    if not isinstance(rows, list):
        raise SuiteError(f"{path} has no list of test cases", hint='write {"test_cases": [{"id": …, "prompt": …}]}')
    return head, rows


def read_document(path: Path) -> Any:
    """What is in a JSON or YAML file. Raises SuiteError."""
    return _read_yaml(path) if path.suffix in (".yaml", ".yml") else read_json(path, MAX_SUITE_BYTES, SuiteError)


def _read_json_lines(path: Path) -> list[Any]:
    rows = []
    for number, line in enumerate(_read_content(path).splitlines(), 1):
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


def _read_yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(_read_content(path))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or error
        raise SuiteError(f"{path} is not valid YAML: {problem}{where}", hint="correct the file there") from error


def _read_content(path: Path) -> bytes:
    try:
        return read_bounded(path.resolve(), MAX_SUITE_BYTES)
    except FileNotFoundError as error:
        raise SuiteError(f"{path}: no such file") from error
    except OSError as error:
        raise SuiteError(f"{path} cannot be read: {error.strerror}") from error
