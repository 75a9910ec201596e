"""``suite check``: every mistake of a file at once, each with its line and what to do."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sidestep.evaluator.suite.checks import find_check_problem, read_check
from sidestep.evaluator.suite.documents import read_document, read_rows
from sidestep.evaluator.suite.formats.own import parse_case, validate_row
from sidestep.evaluator.suite.formats.promptfoo import is_promptfoo
from sidestep.evaluator.suite.positions import Key, line_finder
from sidestep.shared.errors import SuiteError


@dataclass(frozen=True)
class Mistake:
    """What is wrong on a line. A warning is something that works, but perhaps not as it was meant."""

    line: int
    message: str
    hint: str | None = None
    warning: bool = False


@dataclass(frozen=True)
class _Finding:
    """A mistake before its line is known: ``keys`` lead from the case to the value that is wrong."""

    message: str
    keys: tuple[Key, ...] = ()
    hint: str | None = None
    warning: bool = False


def find_mistakes(path: Path) -> list[Mistake]:
    """All of them, by line."""
    try:
        head, rows = read_rows(path)
        content = path.read_bytes()
    except SuiteError as error:
        return [Mistake(_named_line(path, error), _without_path(path, error.message), error.hint)]
    line_of = line_finder(path, content)
    translated = path.suffix != ".jsonl" and is_promptfoo(read_document(path))
    above: tuple[Key, ...] = ()
    if path.suffix != ".jsonl" and head:
        above = ("test_cases",) if "test_cases" in head else ("cases",)
    mistakes = [
        Mistake(
            line_of(("tests",) if translated else (*above, number, *finding.keys)),
            finding.message,
            finding.hint,
            finding.warning,
        )
        for number, row in enumerate(rows)
        for finding in _examine_case(row, number, path)
    ]
    mistakes += _repeated_ids(rows, lambda number: line_of((*above, number, "id")))
    return sorted(mistakes, key=lambda mistake: mistake.line)


def _examine_case(row: Any, number: int, path: Path) -> Iterator[_Finding]:
    """Types first, then each check; only a case that has no mistake so far is read as a whole, for the rest."""
    if not isinstance(row, dict):
        yield _Finding(f"test case {number + 1} is not an object")
        return
    name = f"test case {row['id']!r}" if row.get("id") is not None else f"test case {number + 1}"
    findings = [*_examine_types(row, name), *_examine_checks(row.get("checks"), name, path)]
    yield from findings
    if findings:
        return
    try:
        _, warnings = parse_case(row, number + 1, path)
    except SuiteError as error:
        yield _Finding(_without_path(path, error.message), hint=error.hint)
        return
    for warning in warnings:
        yield _Finding(warning, warning=True)


def _examine_types(row: dict[str, Any], name: str) -> Iterator[_Finding]:
    try:
        validate_row(row)
    except ValidationError as error:
        for detail in error.errors():
            keys = detail["loc"]
            yield _Finding(f"{name}: {'.'.join(map(str, keys))} is wrong: {detail['msg']}", keys)


def _examine_checks(checks: Any, name: str, path: Path) -> Iterator[_Finding]:
    where = f"{path}: {name}"
    for index, check in enumerate(checks if isinstance(checks, list) else []):
        if not isinstance(check, dict):
            continue  # a wrong type, which is named already
        try:
            find_check_problem(read_check(check, where), where, path.parent)
        except SuiteError as error:
            yield _Finding(_without_path(path, error.message), ("checks", index), error.hint)


def _repeated_ids(rows: Sequence[Any], line_of: Callable[[int], int]) -> Iterator[Mistake]:
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


def _without_path(path: Path, message: str) -> str:
    return message.removeprefix(f"{path}: ").removeprefix(f"{path} ")
