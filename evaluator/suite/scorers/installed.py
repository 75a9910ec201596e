"""Scorers in Python that somebody installed as a package: the entry point group ``sidestep.scorers``.

Only what is installed is run, never a file that a suite names. A scorer is a function of the answer and of the check's
``parameters``; it returns whether the answer passes, or a number from 0 to 1 (passed from 1 on), alone or with a text.
Its package's version and its module's content are part of the suite's hash. It is imported when it first scores.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import math
from pathlib import Path
from typing import Any

from pydantic import Field

from sidestep.evaluator.cases.result import TOP_SCORE, CheckResult
from sidestep.evaluator.suite.scorers.base import Context, Parameters, Scorer, check_result, shortened

NAME, GROUP = "python", "sidestep.scorers"


class InstalledParameters(Parameters):
    """``name`` of the entry point, what it is given, and (filled in when the suite is loaded) which one it is."""

    name: str
    parameters: dict[str, Any] = Field(default_factory=dict)
    installed: str = ""


def score_installed(parameters: InstalledParameters, answer: str, context: Context) -> CheckResult:
    found = _entry_point(parameters.name)
    if found is None:
        raise LookupError(f"no scorer {parameters.name} is installed")
    returned = found.load()(answer, **parameters.parameters)
    value, detail = returned if isinstance(returned, tuple) else (returned, "")
    number = float(value)
    if not (math.isfinite(number) and 0.0 <= number <= 1.0):
        raise ValueError(f"{parameters.name} returned {shortened(value)}, not a number from 0 to 1")
    return check_result(NAME, number >= 1.0, shortened(f"{parameters.name}: {detail or value}"), TOP_SCORE * number)


def describe_entry_point(name: str) -> str:
    """Package, version and hash of the module behind an entry point, without importing it; empty when there is none."""
    found = _entry_point(name)
    if found is None:
        return ""
    package, _, _ = found.module.partition(".")
    spec = importlib.util.find_spec(package)
    source = _source(Path(spec.origin), found.module) if spec and spec.origin else None
    digest = hashlib.sha256(source.read_bytes()).hexdigest()[:16] if source else "unknown"
    return f"{found.dist.name} {found.dist.version} {digest}" if found.dist else digest


def _source(origin: Path, module: str) -> Path | None:
    """The file of ``module``, whose top-level package or module lies at ``origin``."""
    parts = module.split(".")[1:]
    if not parts:
        return origin
    below = origin.parent.joinpath(*parts)
    return next((path for path in (below.with_suffix(".py"), below / "__init__.py") if path.is_file()), None)


def _entry_point(name: str) -> importlib.metadata.EntryPoint | None:
    return next(iter(importlib.metadata.entry_points(group=GROUP, name=name)), None)


def installed_problem(parameters: InstalledParameters, folder: Path) -> str | None:
    """Why this check could never pass: there is no such entry point."""
    if _entry_point(parameters.name) is not None:
        return None
    known = ", ".join(sorted({point.name for point in importlib.metadata.entry_points(group=GROUP)})) or "none"
    return f"no scorer {shortened(parameters.name)} is installed (there are: {known})"


SCORERS = (Scorer(NAME, InstalledParameters, score_installed, installed_problem),)
