"""``suite check``: every mistake of a file at once, each with its line and what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sidestep.evaluator.suite.formats.promptfoo import is_promptfoo
from sidestep.evaluator.suite.formats.reading import read_document, read_rows
from sidestep.evaluator.suite.loading import CaseDocument, case_of, check_problem
from sidestep.evaluator.suite.positions import Key, line_finder
from sidestep.shared.errors import SuiteError


@dataclass(frozen=True)
class Mistake:
    """What is wrong on a line. A warning is something that works, but perhaps not as it was meant."""

    line: int
    message: str
    hint: str | None = None
    warning: bool = False


def find_mistakes(path: Path) -> list[Mistake]:
    """All of them, by line."""
    try:
        head, rows = read_rows(path)
        content = path.read_bytes()
    except SuiteError as error:
        return [Mistake(_named_line(path, error), _without(path, error.message), error.hint)]
    line_of = line_finder(path, content)
    translated = path.suffix != ".jsonl" and is_promptfoo(read_document(path))
    above: tuple[Key, ...] = ()
    if path.suffix != ".jsonl" and head:
        above = ("test_cases",) if "test_cases" in head else ("cases",)
    found = []
    for number, row in enumerate(rows):
        for keys, message, hint, warning in _of_case(row, number, path):
            line = line_of(("tests",) if translated else (*above, number, *keys))
            found.append(Mistake(line, message, hint, warning))
    found += _twice(rows, lambda number: line_of((*above, number, "id")))
    return sorted(found, key=lambda each: each.line)


def _of_case(row: Any, number: int, path: Path) -> Iterator[tuple[tuple[Key, ...], str, str | None, bool]]:
    """Where, what, what to do, and whether it is only a warning."""
    if not isinstance(row, dict):
        yield (), f"test case {number + 1} is no object", None, False
        return
    name = f"test case {row['id']!r}" if row.get("id") is not None else f"test case {number + 1}"
    clean = True
    try:
        CaseDocument.model_validate({key: value for key, value in row.items() if value is not None})
    except ValidationError as error:
        clean = False
        for each in error.errors():
            yield each["loc"], f"{name}: {'.'.join(map(str, each['loc']))} is wrong: {each['msg']}", None, False
    checks = row.get("checks")
    for at, check in enumerate(checks if isinstance(checks, list) else []):
        problem = check_problem(check, f"{path}: {name}", path.parent) if isinstance(check, dict) else None
        if problem:
            clean = False
            yield ("checks", at), _without(path, problem.message), problem.hint, False
    if not clean:
        return
    warnings: list[str] = []
    try:
        case_of(row, number + 1, path, warnings)
    except SuiteError as error:
        yield (), _without(path, error.message), error.hint, False
    for warning in warnings:
        yield (), warning, None, True


def _twice(rows: list[Any], line_of: Any) -> Iterator[Mistake]:
    seen: set[str] = set()
    for number, row in enumerate(rows):
        if isinstance(row, dict) and row.get("id") is not None:
            if str(row["id"]) in seen:
                yield Mistake(line_of(number), f"the id {str(row['id'])!r} is used by two test cases", "make it unique")
            seen.add(str(row["id"]))


def _named_line(path: Path, error: SuiteError) -> int:
    """The line that the message names, or that of the promptfoo test that it names, or the first."""
    if named := re.search(r"at line (\d+)", error.message):
        return int(named[1])
    if test := re.search(r"tests\[(\d+)\]", error.message):
        return line_finder(path, path.read_bytes())(("tests", int(test[1])))
    return 1


def _without(path: Path, message: str) -> str:
    return message.removeprefix(f"{path}: ").removeprefix(f"{path} ")
