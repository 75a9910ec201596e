"""What a checkpoint must fulfil before somebody ships it: gates, from the manifest or the command line. Pure.

"evaluation": {"gates": {"min_success_rate": 0.8, "min_category_rate": {"joins": 0.6}, "max_drop": 0.02,
                         "forbidden_regressions": ["login", "refund"], "refuse_worse": true, "against": "best"}}
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sidestep.evaluator.comparing.against import Against
from sidestep.evaluator.results.counting import TestResults
from sidestep.evaluator.results.evidence import VerdictWord
from sidestep.evaluator.results.report import ComparisonEntry, Report
from sidestep.shared.errors import ConfigError

ALL_CASES = "all"


# For shipping: what users have now, which is the best of the previous version or else the base model.
SHIPPED = (Against.PREVIOUS_VERSION_BEST, Against.BASE)


class Gates(BaseModel):
    """The manifest's ``evaluation.gates``. Rates and drops are 0..1."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_success_rate: float | None = Field(default=None, ge=0, le=1)
    min_category_rate: dict[str, float] = Field(default_factory=dict)
    max_drop: float | None = Field(default=None, ge=0, le=1)
    forbidden_regressions: tuple[str, ...] = ()
    refuse_worse: bool = True
    against: Against | None = None


@dataclass(frozen=True)
class GateResult:
    """One gate's answer, with what was found."""

    gate: str
    passed: bool
    detail: str


def read_gates(block: Any, path: Path) -> Gates:
    """The gates in a manifest. Raises ConfigError that names the field."""
    try:
        return Gates.model_validate(block or {})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, ("evaluation.gates", *first["loc"])))
        raise ConfigError(
            f"{path}: {where} is wrong: {first['msg']}", hint=f"known are {', '.join(Gates.model_fields)}"
        ) from error


def with_options(gates: Gates, given: dict[str, Any]) -> Gates:
    """The same gates with what the command line says on top; lists and categories are added. Raises ConfigError."""
    values = gates.model_dump() | {key: value for key, value in given.items() if value is not None}
    values["min_category_rate"] = gates.min_category_rate | (given.get("min_category_rate") or {})
    values["forbidden_regressions"] = (*gates.forbidden_regressions, *(given.get("forbidden_regressions") or ()))
    return Gates.model_validate(values)


def parse_category_rates(texts: Sequence[str]) -> dict[str, float]:
    """``NAME=RATE`` pairs. Raises ConfigError."""
    rates = {}
    for text in texts:
        name, _, rate = text.rpartition("=")
        try:
            value = float(rate)
        except ValueError:
            value = -1.0
        if not name or not 0 <= value <= 1:
            raise ConfigError(f"{text!r} is not NAME=RATE with a rate from 0 to 1", hint="write it like joins=0.8")
        rates[name] = value
    return rates


def comparison_for(report: Report, gates: Gates, default: Sequence[Against]) -> ComparisonEntry | None:
    """The comparison that the gates use, or None where the report has none of that kind."""
    wanted = (gates.against,) if gates.against else default
    return next((report.comparisons[name] for name in wanted if name in report.comparisons), None)


def check_gates(report: Report, gates: Gates, entry: ComparisonEntry | None) -> list[GateResult]:
    """Every gate's answer about one evaluated checkpoint, compared as in ``entry``."""
    results = []
    if gates.min_success_rate is not None:
        results.append(_rate("success rate", report.test_results, gates.min_success_rate))
    for name, least in gates.min_category_rate.items():
        counts = report.categories.get(name)
        results.append(
            _rate(f"success rate of {name}", counts, least)
            if counts
            else GateResult(f"success rate of {name}", False, "there is no such category among the test cases")
        )
    return results + _regressions(report, gates, entry)


def _rate(gate: str, counts: TestResults, least: float) -> GateResult:
    decided = counts.passed + counts.failed
    if not decided:
        return GateResult(gate, False, f"no case was decided; at least {least:.1%} is asked for")
    shown = f"{counts.rate:.1%} ({counts.passed} of {decided})"
    return GateResult(gate, counts.rate >= least, f"{shown}; at least {least:.1%} is asked for")


def _regressions(report: Report, gates: Gates, entry: ComparisonEntry | None) -> list[GateResult]:
    known = {ALL_CASES, *(case.id for case in report.test_cases)}
    unknown = [
        GateResult(f"no regression of {name}", False, "there is no such test case")
        for name in gates.forbidden_regressions
        if name not in known
    ]
    if entry is None or entry.verdict is None:
        return [*unknown, GateResult("no regression", True, "there is nothing to compare with")]
    results, named = unknown, f"{entry.against} {entry.against_version}".strip()
    if gates.refuse_worse:
        passed = entry.verdict.word is not VerdictWord.WORSE
        results.append(GateResult(f"not worse than {named}", passed, entry.verdict.sentence))
    if gates.max_drop is not None:
        drop = max(0.0, -entry.verdict.difference)
        detail = f"the success rate fell by {drop:.1%}; at most {gates.max_drop:.1%} is allowed"
        results.append(GateResult(f"drop since {named}", drop <= gates.max_drop + 1e-12, detail))
    forbidden = set(entry.new_failures) & (
        set(entry.new_failures) if ALL_CASES in gates.forbidden_regressions else set(gates.forbidden_regressions)
    )
    if gates.forbidden_regressions:
        detail = f"broken: {', '.join(sorted(forbidden))}" if forbidden else "none of them is newly broken"
        results.append(GateResult(f"forbidden regressions since {named}", not forbidden, detail))
    return results
