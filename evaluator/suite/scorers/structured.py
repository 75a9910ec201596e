"""Scorers that parse the answer: format, JSON equality, JSON Schema, number.

What a model writes may be built to hurt a parser: everything here is bounded in size, refuses entities and aliases,
and fails the check instead of raising (evaluator.suite.scoring catches the rest).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, Literal

import defusedxml.ElementTree
import jsonschema
import orjson
import yaml
from pydantic import Field, model_validator
from referencing import Registry

from sidestep.evaluator.cases.result import CheckResult
from sidestep.evaluator.suite.scorers.base import Context, Parameters, Scorer, check_result, payload, shortened

MAX_PARSED_CHARACTERS = 100_000  # the parsers below are in Python; longer answers fail


class FormatParameters(Parameters):
    """Which format the answer must parse as; ``dialect`` is sqlglot's name, for sql."""

    format: Literal["json", "xml", "yaml", "sql"]
    dialect: str | None = None

    @model_validator(mode="after")
    def _known_dialect(self) -> FormatParameters:
        if self.dialect:
            from sqlglot import Dialects  # loaded only for suites with SQL: it is large

            if self.dialect not in {dialect.value for dialect in Dialects}:
                raise ValueError(f"unknown dialect {self.dialect!r}")
        return self


class _NoAliases(yaml.SafeLoader):
    """YAML without aliases: a few of them can stand for gigabytes."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not accepted")
        return super().compose_node(parent, index)


def _parse_sql(text: str, dialect: str | None) -> None:
    import sqlglot

    statements = [statement for statement in sqlglot.parse(text, dialect=dialect) if statement is not None]
    if not statements:
        raise ValueError("no statement")
    other = sqlglot.exp.Command | sqlglot.exp.Column | sqlglot.exp.Alias  # what plain text parses as
    if any(isinstance(statement, other) for statement in statements):
        raise ValueError("not a SQL statement")


def _parse_yaml(text: str) -> None:
    if isinstance(yaml.load(text, _NoAliases), str | None):  # noqa: S506 - a safe loader, stricter than SafeLoader
        raise ValueError("plain text")


_PARSERS: dict[str, Callable[[FormatParameters, str], object]] = {
    "json": lambda parameters, text: orjson.loads(text),
    "xml": lambda parameters, text: defusedxml.ElementTree.fromstring(text, forbid_dtd=True),
    "yaml": lambda parameters, text: _parse_yaml(text),
    "sql": lambda parameters, text: _parse_sql(text, parameters.dialect),
}


def score_format(parameters: FormatParameters, answer: str, context: Context) -> CheckResult:
    text = payload(answer)
    if not text or len(text) > MAX_PARSED_CHARACTERS:
        return check_result("format", False, "empty" if not text else f"longer than {MAX_PARSED_CHARACTERS} characters")
    try:
        _PARSERS[parameters.format](parameters, text)
    except Exception as error:  # four parsers with four families of errors, fed by a model
        return check_result("format", False, f"not valid {parameters.format}: {shortened(error)}")
    return check_result("format", True, f"valid {parameters.format}")


class JsonEqualParameters(Parameters):
    """A JSON value the answer must equal; keys in any order."""

    value: Any
    ignore_list_order: bool = False
    tolerance: float = 0.0


def score_json_equal(parameters: JsonEqualParameters, answer: str, context: Context) -> CheckResult:
    try:
        given = orjson.loads(payload(answer))
    except orjson.JSONDecodeError as error:
        return check_result("json_equal", False, f"not valid JSON: {shortened(error)}")
    same = json_equal(given, parameters.value, parameters)
    return check_result("json_equal", same, "equal" if same else f"got {shortened(given)}")


def json_equal(given: Any, wanted: Any, rules: JsonEqualParameters) -> bool:
    """Whether two JSON values are equal under the rules. Booleans are not numbers."""
    if isinstance(given, bool) or isinstance(wanted, bool):
        return given is wanted
    if isinstance(given, int | float) and isinstance(wanted, int | float):
        return abs(given - wanted) <= rules.tolerance
    if isinstance(given, dict) and isinstance(wanted, dict):
        return given.keys() == wanted.keys() and all(json_equal(given[key], wanted[key], rules) for key in given)
    if isinstance(given, list) and isinstance(wanted, list):
        if len(given) != len(wanted):
            return False
        if rules.ignore_list_order:
            return _same_members(given, wanted, rules)
        return all(json_equal(a, b, rules) for a, b in zip(given, wanted, strict=True))
    return type(given) is type(wanted) and given == wanted


def _same_members(given: list[Any], wanted: list[Any], rules: JsonEqualParameters) -> bool:
    left = list(wanted)
    for value in given:
        at = next((at for at, other in enumerate(left) if json_equal(value, other, rules)), None)
        if at is None:
            return False
        del left[at]
    return True


class JsonSchemaParameters(Parameters):
    """A JSON Schema the answer must satisfy; references to other documents are not followed."""

    schema_: dict[str, Any] = Field(alias="schema")

    @model_validator(mode="after")
    def _valid_schema(self) -> JsonSchemaParameters:
        try:
            jsonschema.validators.validator_for(self.schema_).check_schema(self.schema_)
        except jsonschema.SchemaError as error:
            raise ValueError(f"the schema is invalid: {shortened(error.message)}") from error
        return self


def score_json_schema(parameters: JsonSchemaParameters, answer: str, context: Context) -> CheckResult:
    try:
        given = orjson.loads(payload(answer))
    except orjson.JSONDecodeError as error:
        return check_result("json_schema", False, f"not valid JSON: {shortened(error)}")
    kind = jsonschema.validators.validator_for(parameters.schema_, default=jsonschema.Draft202012Validator)
    wrong = next(kind(parameters.schema_, registry=Registry()).iter_errors(given), None)
    if wrong is None:
        return check_result("json_schema", True, "valid")
    where = "/".join(map(str, wrong.absolute_path)) or "document"
    return check_result("json_schema", False, f"{where}: {shortened(wrong.message)}")


class NumberParameters(Parameters):
    """A number the answer must give: its last one, or its first one, within a tolerance."""

    value: float
    tolerance: float = 0.0
    relative_tolerance: float = 0.0
    which: Literal["last", "first"] = "last"


_NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?(?:[eE][-+]?\d{1,3})?|[-+]?\.\d+")


def score_number(parameters: NumberParameters, answer: str, context: Context) -> CheckResult:
    found = _NUMBER.findall(answer)
    if not found:
        return check_result("number", False, "no number")
    text = found[-1] if parameters.which == "last" else found[0]
    given = float(text.replace(",", ""))
    allowed = max(parameters.tolerance, parameters.relative_tolerance * abs(parameters.value))
    passed = math.isfinite(given) and abs(given - parameters.value) <= allowed
    return check_result("number", passed, f"got {shortened(text, 40)}")


SCORERS = (
    Scorer("format", FormatParameters, score_format),
    Scorer("json_equal", JsonEqualParameters, score_json_equal),
    Scorer("json_schema", JsonSchemaParameters, score_json_schema),
    Scorer("number", NumberParameters, score_number),
)
