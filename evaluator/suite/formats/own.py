"""A test case as Sidestep reads it; every other format is turned into this one first.

Shapes of a case: ``prompt`` or ``input`` with ``expected_keywords`` and ``expected_format``; ``system_prompt`` and
``user_prompt`` with ``expected_type``; ``messages``; each with or without Sidestep's own ``checks``
(docs/test-cases.md).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sidestep.evaluator.cases.case import DEFAULT_CATEGORY, Case, Check, Message
from sidestep.evaluator.suite.checks import build_check, find_check_problem, read_check
from sidestep.shared.errors import SuiteError

_CHECKABLE_FORMATS = {"json", "xml", "yaml", "sql"}


class CaseDocument(BaseModel):
    """One case as given in a file."""

    model_config = ConfigDict(extra="allow")

    id: str | int | None = None
    name: str | None = None
    description: str | None = None
    category: str | None = None
    prompt: str | None = None
    input: str | None = None
    user_prompt: str | None = None
    system_prompt: str | None = None
    messages: list[dict[str, str]] | None = None
    expected_keywords: list[str] = []
    forbidden_keywords: list[str] = []
    expected_format: str | None = None
    expected_type: str | None = None
    checks: list[dict[str, Any]] = []
    may_fail: bool = False
    failure_reason: str | None = None
    weight: float = Field(default=1.0, gt=0)
    reference: str | None = None
    max_new_tokens: int | None = Field(default=None, ge=1)


def validate_row(row: Mapping[str, Any]) -> CaseDocument:
    """The row with its types checked; keys whose value is null count as absent. Raises pydantic's ValidationError."""
    return CaseDocument.model_validate({key: value for key, value in row.items() if value is not None})


def parse_case(row: Any, number: int, path: Path, *, try_checks: bool = True) -> tuple[Case, list[str]]:
    """The case of a row, which is the ``number``-th, and warnings about it. Raises SuiteError."""
    where = f"{path}: test case {number}"
    if not isinstance(row, dict):
        raise SuiteError(f"{where} is not an object")
    if row.get("id") is not None:
        where = f"{path}: test case {row['id']!r}"
    try:
        document = validate_row(row)
    except ValidationError as error:
        first = error.errors()[0]
        raise SuiteError(f"{where}: {'.'.join(map(str, first['loc']))} is wrong: {first['msg']}") from error
    warnings: list[str] = []
    unknown = sorted(key for key in document.model_extra or {} if not key.startswith("_"))
    if unknown:
        warnings.append(f"case {row.get('id', number)}: ignored keys that are not known: {', '.join(unknown)}")
    if document.id is None:
        identifier = _derive_id(row)
        warnings.append(
            f"case {number} has no id and is called {identifier}: give it one, so that its history stays its own"
        )
    else:
        identifier = str(document.id)
    messages, checks = _read_messages(document, where), _read_checks(document, where)
    for check in checks:
        if problem := find_check_problem(check, where, path.parent, try_check=try_checks):
            warnings.append(f"{where.rpartition(': ')[2]}: {problem}; its check will fail")
    case = Case(
        id=identifier,
        name=document.name or document.description or identifier,
        messages=messages,
        checks=checks,
        category=document.category or DEFAULT_CATEGORY,
        may_fail=document.may_fail,
        failure_reason=document.failure_reason,
        weight=document.weight,
        reference=document.reference,
        expected_keywords=tuple(document.expected_keywords),
        max_new_tokens=document.max_new_tokens,
    )
    return case, warnings


def _derive_id(row: Mapping[str, Any]) -> str:
    """An id that stays the same when cases move in the file."""
    return f"case-{hashlib.sha256(orjson.dumps(row, option=orjson.OPT_SORT_KEYS)).hexdigest()[:8]}"


def _read_messages(document: CaseDocument, where: str) -> tuple[Message, ...]:
    if document.messages:
        if any(not {"role", "content"} <= set(message) for message in document.messages):
            raise SuiteError(f"{where}: a message has no role or no content")
        return tuple(Message(message["role"], message["content"]) for message in document.messages)
    prompt = document.prompt or document.input or document.user_prompt
    if not prompt:
        raise SuiteError(f"{where} has no prompt", hint="give it prompt, input, user_prompt or messages")
    system = (Message("system", document.system_prompt),) if document.system_prompt else ()
    return (*system, Message("user", prompt))


def _read_checks(document: CaseDocument, where: str) -> tuple[Check, ...]:
    checks = []
    if document.expected_keywords or document.forbidden_keywords:
        words = {"keywords": document.expected_keywords, "forbidden": document.forbidden_keywords}
        checks.append(build_check("keywords", words, where))
    expected = (document.expected_format or document.expected_type or "").lower()
    if expected in _CHECKABLE_FORMATS:
        checks.append(build_check("format", {"format": expected}, where))
    return (*checks, *(read_check(check, where) for check in document.checks))
