"""What may be shipped, and what the trainer is advised."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sidestep.evaluator.comparing.advice import PATIENCE, advice_from
from sidestep.evaluator.comparing.against import Against
from sidestep.evaluator.comparing.comparison import with_comparisons
from sidestep.evaluator.comparing.gates import (
    SHIPPED,
    Gates,
    check_gates,
    comparison_for,
    parse_category_rates,
    read_gates,
    with_options,
)
from sidestep.evaluator.results.counting import count_by_category
from sidestep.evaluator.results.report import Report
from sidestep.shared.errors import ConfigError
from sidestep.shared.protocol.outcomes import Outcome
from tests.fakes.reports import FAIL, PASS, make_report


def _report(step: int | None, passed: int, *, first: int = 0, cases: int = 30, **more: Any) -> Report:
    """``passed`` cases from number ``first`` on pass."""
    return make_report(step, {f"case-{n}": PASS if first <= n < first + passed else FAIL for n in range(cases)}, **more)


def _line(*reports: Report) -> list[Report]:
    return [with_comparisons(report, [other for other in reports if other is not report]) for report in reports]


def _refused(report: Report, gates: Gates, *against: Against) -> list[str]:
    entry = comparison_for(report, gates, against or (Against.PREVIOUS,))
    return [result.gate for result in check_gates(report, gates, entry) if not result.passed]


@pytest.mark.parametrize(
    ("gates", "refused"),
    [
        ({}, []),
        ({"min_success_rate": 0.6}, []),
        ({"min_success_rate": 0.61}, ["success rate"]),
        ({"min_category_rate": {"": 0.61}}, ["success rate of "]),
        ({"min_category_rate": {"nowhere": 0.1}}, ["success rate of nowhere"]),
        ({"max_drop": 0.07}, []),
        ({"max_drop": 0.06}, ["drop since checkpoint-10 1"]),
        ({"forbidden_regressions": ["case-5"]}, []),
        ({"forbidden_regressions": ["case-5", "case-19"]}, ["forbidden regressions since checkpoint-10 1"]),
        ({"forbidden_regressions": ["all"]}, ["forbidden regressions since checkpoint-10 1"]),
        ({"forbidden_regressions": ["typo"]}, ["no regression of typo"]),
    ],
)
def test_each_gate(gates: dict[str, Any], refused: list[str]) -> None:
    """Twenty of thirty passed before, eighteen do now: nothing that a verdict could be about."""
    after = _line(_report(10, 20), _report(20, 18))[1]
    assert _refused(after, Gates.model_validate(gates)) == refused


def test_a_worse_verdict_is_refused_unless_that_is_wanted() -> None:
    after = _line(_report(10, 25), _report(20, 10))[1]
    assert _refused(after, Gates()) == ["not worse than checkpoint-10 1"]
    assert _refused(after, Gates(refuse_worse=False)) == []


def test_what_users_have_now_decides_about_shipping() -> None:
    base, old, new = _line(_report(None, 25), _report(10, 25, version="0"), _report(10, 10, version="1"))
    assert _refused(new, Gates(), *SHIPPED) == ["not worse than checkpoint-10 0"]
    assert _refused(old, Gates(), *SHIPPED) == []
    alone = _line(base, _report(10, 10, version="1"))[1]
    assert _refused(alone, Gates(), *SHIPPED) == ["not worse than base 1"]
    assert _refused(alone, Gates(against=Against.BEST), *SHIPPED) == []  # there is no earlier one


def test_gates_from_manifest_and_command_line() -> None:
    gates = read_gates({"max_drop": 0.1, "min_category_rate": {"a": 0.5}}, Path("manifest.json"))
    merged = with_options(
        gates,
        {"max_drop": None, "min_success_rate": 0.4, "min_category_rate": {"b": 1.0}, "forbidden_regressions": ("x",)},
    )
    assert (merged.max_drop, merged.min_success_rate, merged.forbidden_regressions) == (0.1, 0.4, ("x",))
    assert merged.min_category_rate == {"a": 0.5, "b": 1.0}
    assert with_options(gates, {}) == gates
    assert read_gates(None, Path("manifest.json")) == Gates()
    assert parse_category_rates(["a=b=0.5", "c=1"]) == {"a=b": 0.5, "c": 1.0}


@pytest.mark.parametrize(
    "block", [{"max_dorp": 0.1}, {"max_drop": 2}, {"against": "yesterday"}, {"min_category_rate": 0.5}, ["a"]]
)
def test_wrong_gates_are_one_clear_error(block: Any) -> None:
    with pytest.raises(ConfigError, match=r"manifest.json: evaluation.gates.* is wrong"):
        read_gates(block, Path("manifest.json"))


@pytest.mark.parametrize("text", ["a", "=0.5", "a=2", "a=x"])
def test_wrong_category_rates(text: str) -> None:
    with pytest.raises(ConfigError, match="is not NAME=RATE"):
        parse_category_rates([text])


def test_weights_count_in_rates() -> None:
    report = _report(10, 15)
    heavy = tuple(replace(case, weight=9.0 if number < 15 else 1.0) for number, case in enumerate(report.test_cases))
    report = replace(report, test_cases=heavy, categories=count_by_category(heavy))
    assert _refused(report, Gates(min_category_rate={"": 0.9})) == []
    assert _refused(report, Gates(min_category_rate={"": 0.91})) == ["success rate of "]


class TestAdvice:
    def test_the_best_and_those_that_cannot_be_told_from_it(self) -> None:
        advice = advice_from(_line(_report(None, 0), _report(10, 3), _report(20, 20), _report(30, 19)))
        about = advice.models["tiny"]
        assert (about.best.checkpoint, about.newest_step, about.evaluated_checkpoints) == ("checkpoint-20", 30, 3)
        assert about.as_good_as_best == ("checkpoint-20", "checkpoint-30")
        assert not about.stop.suggested
        assert about.stop.reason == "1 of 5 checkpoints without a higher rate since checkpoint-20"

    def test_rising(self) -> None:
        about = advice_from(_line(*(_report(10 * n, 2 * n) for n in range(1, 7)))).models["tiny"]
        assert (about.trend.word, about.stop.suggested) == ("rising", False)
        assert about.stop.reason == "the newest checkpoint, checkpoint-60, is the best so far"

    def test_stop_when_nothing_is_better_for_long(self) -> None:
        rates = (20, *[19, 18, 19, 18, 19][:PATIENCE])
        about = advice_from(_line(*(_report(10 * n, passed) for n, passed in enumerate(rates, 1)))).models["tiny"]
        assert about.stop.suggested
        assert about.stop.reason == "none of the 5 checkpoints after checkpoint-10 has a higher success rate"

    def test_stop_when_two_in_a_row_are_shown_to_be_worse(self) -> None:
        one = advice_from(_line(_report(10, 28), _report(20, 5))).models["tiny"]
        two = advice_from(_line(_report(10, 28), _report(20, 5), _report(30, 5))).models["tiny"]
        assert (one.stop.suggested, two.stop.suggested) == (False, True)
        assert two.stop.reason == "checkpoint-20, checkpoint-30 are worse than the best, checkpoint-10"

    def test_without_results_there_is_no_advice(self) -> None:
        failed = replace(_report(10, 3), outcome=Outcome.ERROR)
        assert advice_from([failed, _report(None, 3), make_report(20, {})]).models == {}
