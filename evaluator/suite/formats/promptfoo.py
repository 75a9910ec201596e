"""promptfoo's configuration as test cases: every prompt with every test, variables filled in, asserts as checks.

What cannot be decided in the same way here is refused with its place in the file, never passed over: a suite that
quietly checks less than its author wrote is worse than none. The providers are not read: the checkpoint answers.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jinja2
import yaml
from jinja2.sandbox import SandboxedEnvironment

from sidestep.shared.errors import SuiteError
from sidestep.shared.files import read_bounded

MAX_FILE_BYTES = 16 << 20
_TEST_KEYS = {"description", "vars", "assert", "metadata", "options"}
_ASSERT_KEYS = {"type", "value", "weight", "metric", "provider"}
_RUBRIC = "llm-rubric"
_DROPPED = {
    "providers",
    "provider",
    "description",
    "outputPath",
    "evaluateOptions",
    "sharing",
    "env",
    "tags",
    "metadata",
}
_IN_PROMPT = SandboxedEnvironment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)


def is_promptfoo(document: Any) -> bool:
    return isinstance(document, dict) and "prompts" in document and ("tests" in document or "defaultTest" in document)


def to_case_rows(document: Mapping[str, Any], path: Path) -> list[dict[str, Any]]:
    """Rows as they could be in a suite of our own. Raises SuiteError for what is not supported, and where it is."""
    unknown = sorted(set(document) - _DROPPED - {"prompts", "tests", "defaultTest"})
    if unknown:
        raise SuiteError(f"{path}: {', '.join(unknown)} is not supported", hint="remove it, or write prompts and tests")
    prompts = [_read_prompt(prompt, path) for prompt in _list(document["prompts"])]
    default = document.get("defaultTest") or {}
    rows = []
    for index, test in enumerate(_read_tests(document.get("tests") or [{}], path)):
        where = f"{path}: tests[{index}]"
        _check_keys(test, where)
        asserts = [*_list(default.get("assert")), *_list(test.get("assert"))]
        variables = {**(default.get("vars") or {}), **(test.get("vars") or {})}
        lists = [name for name, value in variables.items() if isinstance(value, list)]
        for chosen, (prompt_number, prompt) in itertools.product(_combinations(variables), enumerate(prompts, 1)):
            row = _build_row(test, index + 1, prompt_number if len(prompts) > 1 else 0, _render(prompt, chosen, where))
            row["checks"] = [check for given in asserts for check in _build_checks(given, chosen, where)]
            if lists:
                row["id"] += "-" + "-".join(str(chosen[name])[:20] for name in lists)
            rows.append(row)
    return rows


def _build_row(test: Mapping[str, Any], number: int, prompt_number: int, prompt: str) -> dict[str, Any]:
    metadata = test.get("metadata") or {}
    row: dict[str, Any] = {"id": str(metadata.get("id") or f"test-{number}")}
    if prompt_number:
        row["id"] += f"-prompt-{prompt_number}"
    if test.get("description"):
        row["name"] = test["description"]
    if metadata.get("category"):
        row["category"] = str(metadata["category"])
    messages = _parse_messages(prompt)
    return row | ({"messages": messages} if messages else {"prompt": prompt})


def _parse_messages(prompt: str) -> list[Any] | None:
    """A prompt that is a JSON list of chat messages."""
    if not prompt.lstrip().startswith("["):
        return None
    try:
        found = json.loads(prompt)
    except json.JSONDecodeError:
        return None
    return found if isinstance(found, list) and all(isinstance(message, dict) for message in found) else None


def _read_prompt(prompt: Any, path: Path) -> str:
    if isinstance(prompt, dict):
        prompt = prompt.get("raw") or prompt.get("id")
    if not isinstance(prompt, str):
        raise SuiteError(f"{path}: prompts: {prompt!r} is not a text", hint="write the prompt, or file://prompt.txt")
    if prompt.startswith("file://"):
        return _read_file(prompt, path, (".txt", ".json", ".md"))
    return prompt


def _read_tests(tests: Any, path: Path) -> list[Mapping[str, Any]]:
    if isinstance(tests, str) and tests.startswith("file://"):
        text = _read_file(tests, path, (".yaml", ".yml", ".json", ".jsonl"))
        tests = [json.loads(line) for line in text.splitlines() if line.strip()] if tests.endswith(".jsonl") else (
            yaml.safe_load(text)
        )  # fmt: skip
    if not isinstance(tests, list) or not all(isinstance(test, dict) for test in tests):
        raise SuiteError(f"{path}: tests is not a list of objects", hint="write tests: [{vars: …, assert: …}]")
    return tests


def _read_file(name: str, path: Path, endings: tuple[str, ...]) -> str:
    target = (path.parent / name.removeprefix("file://")).resolve()
    if not target.is_relative_to(path.parent.resolve()) or target.suffix not in endings:
        raise SuiteError(
            f"{path}: {name} is not supported", hint=f"a file beside the suite that ends in {', '.join(endings)}"
        )
    try:
        return read_bounded(target, MAX_FILE_BYTES).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise SuiteError(f"{path}: {name} cannot be read: {error}") from error


def _check_keys(test: Mapping[str, Any], where: str) -> None:
    unknown = sorted(set(test) - _TEST_KEYS)
    if unknown or test.get("options"):
        raise SuiteError(f"{where}: {', '.join(unknown) or 'options'} is not supported", hint="remove it")


def _combinations(variables: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A list stands for one test per member, as in promptfoo."""
    names = list(variables)
    for values in itertools.product(*(value if isinstance(value, list) else [value] for value in variables.values())):
        chosen = dict(zip(names, values, strict=True))
        yield {name: _render_nested(value, chosen) for name, value in chosen.items()}


def _render_nested(value: Any, variables: Mapping[str, Any]) -> Any:
    """A variable may name others."""
    if not isinstance(value, str) or "{{" not in value:
        return value
    try:
        return _IN_PROMPT.from_string(value).render(variables)
    except jinja2.TemplateError:
        return value  # the prompt that uses it says what is missing


def _render(text: str, variables: Mapping[str, Any], where: str) -> str:
    try:
        return _IN_PROMPT.from_string(text).render(variables)
    except jinja2.TemplateError as error:
        raise SuiteError(f"{where}: {error}", hint="give it under vars") from error


def _build_checks(given: Any, variables: Mapping[str, Any], where: str) -> list[dict[str, Any]]:
    """The checks of one assert. Raises SuiteError for kinds that cannot be decided here."""
    if not isinstance(given, dict) or not isinstance(given.get("type"), str):
        raise SuiteError(f"{where}: an assert has no type", hint="write {type: contains, value: …}")
    if given["type"] == "assert-set" and "threshold" not in given:
        members = _list(given.get("assert"))
        return [check for member in members for check in _build_checks(member, variables, where)]
    kind, value = given["type"], given.get("value")
    negated = kind.startswith("not-")
    kind = kind.removeprefix("not-")
    known = _ASSERT_KEYS | ({"threshold"} if kind == _RUBRIC else set())
    if kind not in _KINDS or set(given) - known:
        extra = ", ".join(sorted(set(given) - known))
        raise SuiteError(
            f"{where}: assert {given['type']}{' with ' + extra if extra and kind in _KINDS else ''} is not supported",
            hint=_HINTS.get(kind, f"supported are {', '.join(_KINDS)}, each also with not-"),
        )
    value = _render_value(value, variables, where)
    check = _KINDS[kind](value)
    if check is None:
        raise SuiteError(f"{where}: assert {given['type']} has no usable value: {value!r}")
    if given.get("threshold") is not None:
        check["threshold"] = given["threshold"]
    return [check | ({"negate": True} if negated else {})]


def _render_value(value: Any, variables: Mapping[str, Any], where: str) -> Any:
    if isinstance(value, str):
        return _render(value, variables, where)
    if isinstance(value, list):
        return [_render_value(member, variables, where) for member in value]
    return value


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _to_texts(value: Any) -> list[str] | None:
    if isinstance(value, str):
        value = [text.strip() for text in value.split(",")]
    return [str(member) for member in value] if isinstance(value, list) and value else None


def _contains(value: Any, mode: str, ignore_case: bool) -> dict[str, Any] | None:
    texts = _to_texts(value)
    return {"scorer": "contains", "values": texts, "mode": mode, "ignore_case": ignore_case} if texts else None


def _single_text(value: Any) -> list[str] | None:
    return [str(value)] if isinstance(value, (str, int, float)) and value != "" else None


def _equals(value: Any) -> dict[str, Any] | None:
    if isinstance(value, (dict, list)):
        return {"scorer": "json_equal", "value": value}
    return None if value is None else {"scorer": "exact", "value": str(value)}


def _is_json(value: Any) -> dict[str, Any] | None:
    if value is None:
        return {"scorer": "format", "format": "json"}
    schema = yaml.safe_load(value) if isinstance(value, str) else value
    return {"scorer": "json_schema", "schema": schema} if isinstance(schema, dict) else None


_KINDS: dict[str, Callable[[Any], dict[str, Any] | None]] = {
    "contains": lambda value: _contains(_single_text(value), "all", False),
    "icontains": lambda value: _contains(_single_text(value), "all", True),
    "contains-all": lambda value: _contains(value, "all", False),
    "contains-any": lambda value: _contains(value, "any", False),
    "icontains-all": lambda value: _contains(value, "all", True),
    "icontains-any": lambda value: _contains(value, "any", True),
    "equals": _equals,
    "starts-with": lambda value: {"scorer": "starts_with", "value": str(value)} if _single_text(value) else None,
    "regex": lambda value: {"scorer": "regex", "pattern": value} if isinstance(value, str) and value else None,
    "is-json": _is_json,
    "is-xml": lambda value: {"scorer": "format", "format": "xml"} if value is None else None,
    _RUBRIC: lambda value: {"scorer": "judge", "rubric": value} if isinstance(value, str) and value else None,
    "is-sql": lambda value: {"scorer": "format", "format": "sql"} if value is None else None,
}
_HINTS = {
    "javascript": "no JavaScript runs here: use the asserts for text and JSON, or a scorer in Python (docs/suites.md)",
    "python": "no file of a suite is run as a program: install a scorer as a package (docs/suites.md)",
}
