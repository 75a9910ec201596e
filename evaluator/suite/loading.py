"""From a file in any of the formats to a suite, or one clear error: which case, what is wrong with it, what to do."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from sidestep.evaluator.cases.case import Case, Suite
from sidestep.evaluator.suite.documents import read_rows
from sidestep.evaluator.suite.formats.own import parse_case
from sidestep.evaluator.suite.hashing import suite_hash
from sidestep.shared.errors import SuiteError


def load_suite(path: Path, *, try_checks: bool = True) -> Suite:
    """The suite in a file. Raises SuiteError with the case, what is wrong with it, and what to do.

    Without ``try_checks`` reference queries are not run, and warnings about them are missing; the hash is the same.
    """
    head, rows = read_rows(path)
    parsed = [parse_case(row, number, path, try_checks=try_checks) for number, row in enumerate(rows, 1)]
    cases = tuple(case for case, _ in parsed)
    _require_distinct(path, cases)
    return Suite(
        name=str(head.get("test_suite") or head.get("name") or path.stem),
        version=str(head.get("version") or "unknown"),
        cases=cases,
        sha256=suite_hash(cases, path.parent),
        source=path,
        description=str(head.get("description") or ""),
        warnings=tuple(warning for _, warnings in parsed for warning in warnings),
    )


def _require_distinct(path: Path, cases: Iterable[Case]) -> None:
    seen: set[str] = set()
    for case in cases:
        if case.id in seen:
            raise SuiteError(f"{path}: the id {case.id!r} is used by two test cases", hint="ids must be unique")
        seen.add(case.id)
