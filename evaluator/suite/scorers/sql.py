"""SQL judged by execution: the answer and a reference query run on the same SQLite fixture, and their rows compared.

The answer is code from a model. It runs in memory on a copy of the fixture, under an authorizer that lets nothing but
reading happen, with limits on time, rows and sizes; whatever it does, the next query finds the fixture as it was.
"""

from __future__ import annotations

import functools
import math
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from sidestep.evaluator.cases.result import CheckResult
from sidestep.evaluator.suite.scorers.base import Context, Parameters, Scorer, check_result, payload, shortened

_STEPS_BETWEEN_CHECKS = 10_000
_ALLOWED_ACTIONS = {
    sqlite3.SQLITE_SELECT,
    sqlite3.SQLITE_READ,
    sqlite3.SQLITE_FUNCTION,
    sqlite3.SQLITE_RECURSIVE,
}
_FORBIDDEN_FUNCTIONS = {"load_extension", "readfile", "writefile", "edit", "fts3_tokenizer"}
_LIMITS = {
    sqlite3.SQLITE_LIMIT_LENGTH: 1_000_000,
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: 20_000,
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 200,
    sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: 50,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
}

Rows = list[tuple[Any, ...]]


class SqlResultParameters(Parameters):
    """``fixture`` is a file of SQL beside the suite, ``setup`` the same as text; ``query`` is the reference.

    Rows are compared as a multiset, or in order when the reference says ORDER BY or ``ordered`` is true; names of
    columns do not matter. ``seconds`` and ``rows`` bound each execution.
    """

    query: str
    fixture: str | None = None
    setup: str | None = None
    ordered: bool | None = None
    tolerance: float = 1e-6
    seconds: float = Field(default=2.0, gt=0, le=60)
    rows: int = Field(default=10_000, gt=0, le=1_000_000)

    @model_validator(mode="after")
    def _one_fixture(self) -> SqlResultParameters:
        if (self.fixture is None) == (self.setup is None):
            raise ValueError("give either fixture or setup")
        return self


class _ForbiddenSql(Exception):
    """The query is not one that this scorer runs, or it exceeded a limit."""


def score_sql_result(parameters: SqlResultParameters, answer: str, context: Context) -> CheckResult:
    script = parameters.setup
    if parameters.fixture:
        script = (context.folder / parameters.fixture).read_text()
    image = fixture_image(script or "")
    wanted = run_query(image, parameters.query, parameters)
    query = payload(answer).partition(";")[0].strip()
    if not query:
        return check_result("sql_result", False, "no query")
    try:
        given = run_query(image, query, parameters)
    except (sqlite3.Error, sqlite3.Warning, _ForbiddenSql, OverflowError) as error:
        return check_result("sql_result", False, f"the query fails: {shortened(error)}")
    ordered = parameters.ordered if parameters.ordered is not None else has_order(parameters.query)
    same = same_rows(given, wanted, ordered=ordered, tolerance=parameters.tolerance)
    return check_result("sql_result", same, f"{len(given)} rows, as expected" if same else _difference(given, wanted))


def _difference(given: Rows, wanted: Rows) -> str:
    return f"{len(given)} rows {shortened(given[:2], 60)}; expected {len(wanted)} rows {shortened(wanted[:2], 60)}"


@functools.lru_cache(maxsize=16)
def fixture_image(script: str) -> bytes:
    """The database that a script makes, as bytes that each execution starts from. Raises sqlite3.Error."""
    with sqlite3.connect(":memory:") as database:
        database.executescript(script)
        return database.serialize()


def run_query(image: bytes, query: str, limits: SqlResultParameters) -> Rows:
    """All rows of one query on a fresh copy of the fixture. Raises sqlite3.Error or a refusal."""
    database = sqlite3.connect(":memory:")
    try:
        database.deserialize(image)
        for limit, value in _LIMITS.items():
            database.setlimit(limit, value)
        database.execute("PRAGMA query_only = ON")
        database.execute("PRAGMA trusted_schema = OFF")
        database.set_authorizer(_authorize)
        deadline = time.monotonic() + limits.seconds
        database.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS_BETWEEN_CHECKS)
        rows: Rows = database.execute(query).fetchmany(limits.rows + 1)
    except sqlite3.OperationalError as error:
        if "interrupted" in str(error):
            raise _ForbiddenSql(f"took longer than {limits.seconds:g} s") from error
        raise
    finally:
        database.close()
    if len(rows) > limits.rows:
        raise _ForbiddenSql(f"returns more than {limits.rows} rows")
    return rows


def _authorize(action: int, first: str | None, second: str | None, database: str | None, trigger: str | None) -> int:
    if action not in _ALLOWED_ACTIONS or (action == sqlite3.SQLITE_FUNCTION and second in _FORBIDDEN_FUNCTIONS):
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK


def has_order(query: str) -> bool:
    """Whether the outermost query has an ORDER BY."""
    import sqlglot

    return sqlglot.parse_one(query, dialect="sqlite").args.get("order") is not None


def same_rows(given: Rows, wanted: Rows, *, ordered: bool, tolerance: float) -> bool:
    """Whether two results are equal: as sequences, or as multisets when the order does not matter."""
    if len(given) != len(wanted):
        return False
    if not ordered:
        given, wanted = sorted(given, key=_sort_key), sorted(wanted, key=_sort_key)
    return all(_same_row(a, b, tolerance) for a, b in zip(given, wanted, strict=True))


def _sort_key(row: Sequence[Any]) -> tuple[tuple[str, Any], ...]:
    return tuple(
        ("number", round(value, 6)) if isinstance(value, int | float) and math.isfinite(value) else ("text", str(value))
        for value in row
    )


def _same_row(given: Sequence[Any], wanted: Sequence[Any], tolerance: float) -> bool:
    return len(given) == len(wanted) and all(_same_value(a, b, tolerance) for a, b in zip(given, wanted, strict=True))


def _same_value(given: Any, wanted: Any, tolerance: float) -> bool:
    if isinstance(given, int | float) and isinstance(wanted, int | float):
        return math.isclose(given, wanted, rel_tol=tolerance, abs_tol=tolerance)
    return type(given) is type(wanted) and bool(given == wanted)


def reference_problem(parameters: SqlResultParameters, folder: Path) -> str | None:
    """Why this check could never pass: a fixture or a reference query that does not run."""
    from sqlglot.errors import SqlglotError

    try:
        script = parameters.setup if parameters.fixture is None else (folder / parameters.fixture).read_text()
        run_query(fixture_image(script or ""), parameters.query, parameters)
        has_order(parameters.query)
    except (OSError, UnicodeDecodeError, sqlite3.Error, _ForbiddenSql, SqlglotError) as error:
        return f"the reference query does not run on its fixture: {shortened(error)}"
    return None


SCORERS = (Scorer("sql_result", SqlResultParameters, score_sql_result, reference_problem, files=("fixture",)),)
