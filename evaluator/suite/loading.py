"""Reads test cases in every shape found in the wild, and says clearly what is wrong with a file that is in none.

Shapes of a case: ``prompt`` or ``input`` with ``expected_keywords`` and ``expected_format``; ``system_prompt`` and
``user_prompt`` with ``expected_type``; ``messages``; each with or without Sidestep's own ``checks``
(docs/test-cases.md).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sidestep.evaluator.cases.case import DEFAULT_CATEGORY, LLM_JUDGE, Case, Check, Message, Suite
from sidestep.evaluator.suite.formats.reading import read_rows
from sidestep.evaluator.suite.scorers import SCORERS, installed
from sidestep.evaluator.suite.scorers.llm_settings import read_judge_settings
from sidestep.shared.errors import SuiteError

_CHECKABLE_FORMATS = {"json", "xml", "yaml", "sql"}


class CaseDocument(BaseModel):
    """One case as it stands in a file."""

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


def load_suite(path: Path) -> Suite:
    """The suite in a file. Raises SuiteError with the case, what is wrong with it, and what to do."""
    head, rows = read_rows(path)
    warnings: list[str] = []
    cases = tuple(case_of(row, number, path, warnings) for number, row in enumerate(rows, 1))
    _require_distinct(path, cases)
    return Suite(
        name=str(head.get("test_suite") or head.get("name") or path.stem),
        version=str(head.get("version") or "unknown"),
        cases=cases,
        sha256=_hash(cases, path.parent),
        source=path,
        description=str(head.get("description") or ""),
        warnings=tuple(warnings),
    )


def case_hash(case: Case) -> str:
    """Names what a case asks and expects, so that a changed case with an old id is not compared with its past."""
    relevant = {key: value for key, value in asdict(case).items() if key not in ("name", "category", "failure_reason")}
    return hashlib.sha256(orjson.dumps(relevant, option=orjson.OPT_SORT_KEYS, default=dict)).hexdigest()


def case_of(row: Any, number: int, path: Path, warnings: list[str]) -> Case:
    """The case of a row, which is the ``number``-th. Raises SuiteError; adds to ``warnings``."""
    where = f"{path}: test case {number}"
    if not isinstance(row, dict):
        raise SuiteError(f"{where} is no object")
    if row.get("id") is not None:
        where = f"{path}: test case {row['id']!r}"
    try:
        document = CaseDocument.model_validate({key: value for key, value in row.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        raise SuiteError(f"{where}: {'.'.join(map(str, first['loc']))} is wrong: {first['msg']}") from error
    unknown = sorted(key for key in document.model_extra or {} if not key.startswith("_"))
    if unknown:
        warnings.append(f"case {row.get('id', number)}: ignored keys that are not known: {', '.join(unknown)}")
    identifier = str(document.id) if document.id is not None else _derived_id(row, number, warnings)
    return Case(
        id=identifier,
        name=document.name or document.description or identifier,
        messages=_messages(document, where),
        checks=_checks(document, where, path.parent, warnings),
        category=document.category or DEFAULT_CATEGORY,
        may_fail=document.may_fail,
        failure_reason=document.failure_reason,
        weight=document.weight,
        reference=document.reference,
        expected_keywords=tuple(document.expected_keywords),
        max_new_tokens=document.max_new_tokens,
    )


def _derived_id(row: Mapping[str, Any], number: int, warnings: list[str]) -> str:
    """An id that stays the same when cases move in the file."""
    digest = hashlib.sha256(orjson.dumps(row, option=orjson.OPT_SORT_KEYS)).hexdigest()[:8]
    warnings.append(
        f"case {number} has no id and is called case-{digest}: give it one, so that its history stays its own"
    )
    return f"case-{digest}"


def _messages(document: CaseDocument, where: str) -> tuple[Message, ...]:
    if document.messages:
        if any(not {"role", "content"} <= set(message) for message in document.messages):
            raise SuiteError(f"{where}: a message has no role or no content")
        return tuple(Message(message["role"], message["content"]) for message in document.messages)
    prompt = document.prompt or document.input or document.user_prompt
    if not prompt:
        raise SuiteError(f"{where} has no prompt", hint="give it prompt, input, user_prompt or messages")
    system = (Message("system", document.system_prompt),) if document.system_prompt else ()
    return (*system, Message("user", prompt))


def _checks(document: CaseDocument, where: str, folder: Path, warnings: list[str]) -> tuple[Check, ...]:
    checks = []
    if document.expected_keywords or document.forbidden_keywords:
        words = {"keywords": document.expected_keywords, "forbidden": document.forbidden_keywords}
        checks.append(Check("keywords", words))
    expected = (document.expected_format or document.expected_type or "").lower()
    if expected in _CHECKABLE_FORMATS:
        checks.append(Check("format", {"format": expected}))
    checks += [_native_check(check, where) for check in document.checks]
    for check in checks:
        _validate(check, where, folder, warnings)
    return tuple(checks)


def check_problem(check: dict[str, Any], where: str, folder: Path) -> SuiteError | None:
    """What is wrong with one of a case's ``checks``, if something is."""
    try:
        _validate(_native_check(check, where), where, folder, [])
    except SuiteError as error:
        return error
    return None


def _native_check(check: dict[str, Any], where: str) -> Check:
    name = check.get("scorer")
    if not isinstance(name, str) or name not in SCORERS:
        raise SuiteError(f"{where}: unknown scorer {name!r}", hint=f"known are {', '.join(SCORERS)}")
    parameters = {key: value for key, value in check.items() if key != "scorer" and not key.startswith("_")}
    if name == installed.NAME and isinstance(parameters.get("name"), str):
        parameters["installed"] = installed.installed_as(parameters["name"])
    if name == LLM_JUDGE:
        parameters["judged_by"] = _judge_for(where)
    return Check(name, parameters)


def _judge_for(where: str) -> str:
    """Who judges. Raises SuiteError where nobody does, before any work is done."""
    try:
        return read_judge_settings().description
    except SuiteError as error:
        raise SuiteError(f"{where}: {error.message}", hint=error.hint) from error


def _validate(check: Check, where: str, folder: Path, warnings: list[str]) -> None:
    scorer = SCORERS[check.scorer]
    try:
        parameters = scorer.parameters.model_validate(check.parameters)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        fields = scorer.parameters.model_fields.items()
        known = ", ".join(field.alias or key for key, field in sorted(fields, key=lambda each: each[0] == "negate"))
        raise SuiteError(
            f"{where}: scorer {check.scorer}: {name + ': ' if name else ''}{first['msg']}",
            hint=f"its parameters are {known}",
        ) from error
    for key in scorer.files:
        if check.parameters.get(key) is not None:
            _require_inside(folder, str(check.parameters[key]), f"{where}: scorer {check.scorer}")
    if problem := scorer.problem(parameters, folder):
        warnings.append(f"{where.rpartition(': ')[2]}: {problem}; its check will fail")


def _require_inside(folder: Path, name: str, where: str) -> None:
    target = (folder / name).resolve()
    if not target.is_relative_to(folder.resolve()):
        raise SuiteError(f"{where}: {name} lies outside the suite's folder", hint="put it beside the test cases")
    if not target.exists():
        raise SuiteError(
            f"{where}: the fixture {target} does not exist", hint="correct the path; it starts at the suite"
        )


def _require_distinct(path: Path, cases: Iterable[Case]) -> None:
    seen: set[str] = set()
    for case in cases:
        if case.id in seen:
            raise SuiteError(f"{path}: the id {case.id!r} is used by two test cases", hint="ids must be unique")
        seen.add(case.id)


def _hash(cases: Iterable[Case], folder: Path) -> str:
    """Over everything that can change a verdict: cases, checks, and the contents of their fixtures."""
    digest = hashlib.sha256()
    for case in cases:
        digest.update(case_hash(case).encode())
        for check in case.checks:
            for key in SCORERS[check.scorer].files:
                if check.parameters.get(key) is not None:
                    digest.update(_fixture_digest(folder / str(check.parameters[key])))
    return digest.hexdigest()


def _fixture_digest(path: Path) -> bytes:
    """Of a file's content, or of everything in a folder, with names."""
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).digest()
    digest = hashlib.sha256()
    for each in sorted(path.rglob("*")):
        if each.is_file() and "__pycache__" not in each.parts:
            digest.update(f"{each.relative_to(path)}\0".encode() + hashlib.sha256(each.read_bytes()).digest())
    return digest.digest()
