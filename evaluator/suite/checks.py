"""The checks of a case: a scorer's name and its parameters, validated once, when the suite is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sidestep.evaluator.cases.case import LLM_JUDGE, Check
from sidestep.evaluator.suite.scorers import SCORERS, Parameters, installed
from sidestep.evaluator.suite.scorers.llm_settings import read_judge_settings
from sidestep.shared.errors import SuiteError


def build_check(scorer: str, parameters: Mapping[str, Any], where: str) -> Check:
    """A check with its parameters as they are written and as they were validated.

    Raises SuiteError, which begins with ``where``, when a parameter is missing, unknown or wrong.
    """
    fields = SCORERS[scorer].parameters.model_fields
    try:
        return Check(scorer, parameters, SCORERS[scorer].parameters.model_validate(parameters))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        known = [field.alias or key for key, field in fields.items() if key != "negate"]
        raise SuiteError(
            f"{where}: scorer {scorer}: {name + ': ' if name else ''}{first['msg']}",
            hint=f"its parameters are {', '.join([*known, 'negate'])}",
        ) from error


def read_check(document: Mapping[str, Any], where: str) -> Check:
    """One of a case's ``checks`` as given in a file. Raises SuiteError."""
    name = document.get("scorer")
    if not isinstance(name, str) or name not in SCORERS:
        raise SuiteError(f"{where}: unknown scorer {name!r}", hint=f"known are {', '.join(SCORERS)}")
    parameters = {key: value for key, value in document.items() if key != "scorer" and not key.startswith("_")}
    if name == installed.NAME and isinstance(parameters.get("name"), str):
        parameters["installed"] = installed.installed_as(parameters["name"])
    if name == LLM_JUDGE:
        parameters["judged_by"] = _describe_judge(where)
    return build_check(name, parameters, where)


def find_check_problem(check: Check, where: str, folder: Path, *, try_check: bool = True) -> str | None:
    """Why a check can never pass, if that is so. ``folder`` is the suite's.

    Raises SuiteError when a fixture is missing or lies outside the suite's folder.
    """
    scorer = SCORERS[check.scorer]
    for key in scorer.files:
        if check.parameters.get(key) is not None:
            _require_inside(folder, str(check.parameters[key]), f"{where}: scorer {check.scorer}")
    return scorer.problem(validated_parameters(check), folder) if try_check else None


def validated_parameters(check: Check) -> Parameters:
    """What the check's scorer takes."""
    assert isinstance(check.validated, Parameters), "a check that scores is built by build_check"
    return check.validated


def _describe_judge(where: str) -> str:
    """Who judges. Raises SuiteError where nobody does, before any work is done."""
    try:
        return read_judge_settings().description
    except SuiteError as error:
        raise SuiteError(f"{where}: {error.message}", hint=error.hint) from error


def _require_inside(folder: Path, name: str, where: str) -> None:
    target = (folder / name).resolve()
    if not target.is_relative_to(folder.resolve()):
        raise SuiteError(f"{where}: {name} lies outside the suite's folder", hint="put it beside the test cases")
    if not target.exists():
        raise SuiteError(
            f"{where}: the fixture {target} does not exist", hint="correct the path; it starts at the suite"
        )
