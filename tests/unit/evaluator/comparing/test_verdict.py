"""What is said about a difference, when, and that it holds over many checkpoints."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from benchmarks.verdict_simulation import SCENARIOS, Scenario, coverage, false_alarm_rate
from sidestep.evaluator.cases.result import CaseStatus, NoiseFloor
from sidestep.evaluator.comparing.comparison import SINGLE, compare, with_comparisons
from sidestep.evaluator.comparing.verdict import Pair, assess_difference, assess_flips
from sidestep.evaluator.results.evidence import Family, VerdictWord
from sidestep.evaluator.results.report import Report
from tests.fakes.reports import FAIL, PASS, make_report


def _pairs(broken: int, fixed: int, cases: int, **more: float) -> list[Pair]:
    flips = [(True, False)] * broken + [(False, True)] * fixed + [(True, True)] * (cases - broken - fixed)
    return [Pair(str(n), "c", more.get("weight", 1.0), *flip) for n, flip in enumerate(flips)]


def _report(step: int | None, passed: int, cases: int = 30, **more: object) -> Report:
    return make_report(step, {f"case-{n}": PASS if n < passed else FAIL for n in range(cases)}, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("broken", "fixed", "number", "word"),
    [
        (6, 0, 0, VerdictWord.WORSE),  # p = 0.031 by itself
        (6, 0, 1, VerdictWord.UNDECIDED),  # not enough as the first of many
        (9, 0, 1, VerdictWord.WORSE),  # p = 0.0039, of 0.0045
        (9, 0, 50, VerdictWord.UNDECIDED),
        (0, 9, 1, VerdictWord.BETTER),
        (5, 0, 0, VerdictWord.UNDECIDED),
        (12, 12, 0, VerdictWord.UNDECIDED),
        (0, 0, 0, VerdictWord.UNDECIDED),
    ],
)
def test_words(broken: int, fixed: int, number: int, word: VerdictWord) -> None:
    entry = assess_flips(_pairs(broken, fixed, 60), Family(number=number), NoiseFloor())
    assert entry.word is word
    assert entry.sentence.startswith(f"{word}: {broken} broken and {fixed} fixed of 60 cases (p")
    assert (entry.adjusted_p_value <= 0.05) == (word is not VerdictWord.UNDECIDED)


def test_that_the_best_was_chosen_costs_something() -> None:
    alone = assess_flips(_pairs(9, 0, 60), Family(number=1), NoiseFloor())
    chosen = assess_flips(_pairs(9, 0, 60), Family(number=1, candidates=5), NoiseFloor())
    assert chosen.adjusted_p_value == pytest.approx(5 * alone.adjusted_p_value)
    assert (alone.word, chosen.word) == (VerdictWord.WORSE, VerdictWord.UNDECIDED)


def test_flips_that_noise_explains_are_no_evidence() -> None:
    pairs = _pairs(9, 0, 100)
    assert assess_flips(pairs, SINGLE, NoiseFloor(0.0, 100)).word is VerdictWord.WORSE
    noisy = assess_flips(pairs, SINGLE, NoiseFloor(0.06, 500))
    assert noisy.word is VerdictWord.UNDECIDED
    assert noisy.expected_noise_flips == pytest.approx(8.4, abs=0.2)  # of what was measured, the upper end
    assert "noise alone flips up to 8.4" in noisy.sentence
    assert assess_flips(_pairs(30, 0, 100), SINGLE, NoiseFloor(0.06, 500)).word is VerdictWord.WORSE


def test_what_would_be_needed() -> None:
    entry = assess_flips(_pairs(3, 1, 40), SINGLE, NoiseFloor())
    assert entry.cases_needed is not None
    assert 200 < entry.cases_needed < 500
    assert f"about {entry.cases_needed} cases would be needed" in entry.sentence
    few = assess_flips(_pairs(4, 0, 4), SINGLE, NoiseFloor())
    assert (few.word, few.flips_needed) == (VerdictWord.UNDECIDED, 6)
    assert "fewer than 6 cases can show none at all" in few.sentence


def test_weights_count() -> None:
    """Ten light cases broke, six heavy ones were fixed."""
    light = [Pair(f"l{n}", "c", 1.0, True, False) for n in range(4)]
    heavy = [Pair(f"h{n}", "c", 10.0, False, True) for n in range(8)]
    rest = [Pair(f"r{n}", "c", 1.0, True, True) for n in range(20)]
    entry = assess_flips([*light, *heavy, *rest], SINGLE, NoiseFloor())
    assert entry.test == "sign-flip permutation"
    assert entry.word is VerdictWord.BETTER
    assert entry.difference == pytest.approx((80 - 4) / 104)
    equal = assess_flips(_pairs(4, 8, 32, weight=7.0), SINGLE, NoiseFloor())
    assert (equal.test, equal.word) == ("exact McNemar", VerdictWord.UNDECIDED)


def test_scores_likelihood_and_categories_have_verdicts_of_their_own() -> None:
    pairs = [
        Pair(
            str(n), "joins" if n < 8 else f"c{n % 3}", 1.0, n >= 8, True, 5.0, 5.0 + (n % 2) / 10, -2.0, -1.5 - n / 100
        )
        for n in range(30)
    ]
    assessment = assess_difference(pairs, SINGLE, NoiseFloor())
    assert assessment.verdict.word is VerdictWord.BETTER
    assert assessment.categories["joins"].word is VerdictWord.BETTER
    assert assessment.categories["joins"].adjusted_p_value == pytest.approx(4 * 2 / 2**8)
    assert {assessment.categories[f"c{n}"].word for n in range(3)} == {VerdictWord.UNDECIDED}
    assert assessment.likelihood is not None
    assert assessment.likelihood.word is VerdictWord.BETTER
    assert assessment.likelihood.interval is not None
    assert assessment.likelihood.interval.low < assessment.likelihood.difference < assessment.likelihood.interval.high
    assert assessment.score is not None
    assert assessment.score.difference == pytest.approx(0.05)


def test_measures_that_are_missing_or_not_finite_are_left_out() -> None:
    before, after = _report(10, 5), _report(20, 5)
    cases = tuple(replace(case, score=math.nan if n else None) for n, case in enumerate(after.test_cases))
    entry = compare(before, replace(after, test_cases=cases))
    assert (entry.score, entry.likelihood) == (None, None)


def test_expected_failures_stand_apart() -> None:
    expected, unexpected = CaseStatus.EXPECTED_FAILURE, CaseStatus.UNEXPECTED_PASS
    entry = compare(
        make_report(10, {"a": PASS, "x": expected, "y": unexpected, "z": expected}),
        make_report(20, {"a": PASS, "x": unexpected, "y": expected, "z": expected}),
    )
    assert (entry.unexpected_passes, entry.expected_failures) == (("x",), ("y",))
    assert (entry.compared_cases, entry.new_failures, entry.fixed_failures) == (1, (), ())


def test_each_comparison_knows_which_of_many_it_is() -> None:
    reports = [_report(None, 0), *(_report(step, step) for step in (10, 20, 30)), _report(40, 20, version="0")]
    last = with_comparisons(reports[3], [report for report in reports if report is not reports[3]])
    families = {name: (entry.verdict.family.number, entry.verdict.family.candidates)
                for name, entry in last.comparisons.items() if entry.verdict}  # fmt: skip
    assert families == {
        "previous": (2, 1), "best": (2, 2), "base": (3, 1), "previous_version": (3, 1), "previous_version_best": (3, 1)
    }  # fmt: skip
    assert last.comparisons["base"].verdict is not None
    assert last.comparisons["base"].verdict.word is VerdictWord.BETTER


def test_a_known_verdict_is_not_worked_out_again(monkeypatch: pytest.MonkeyPatch) -> None:
    others = [_report(10, 10)]
    first = with_comparisons(_report(20, 12), others)
    with monkeypatch.context() as patch:
        patch.setattr(
            "sidestep.evaluator.comparing.comparison.assess_difference", lambda *_: pytest.fail("worked out again")
        )
        assert with_comparisons(first, others) == first
    noisy = replace(first, noise=NoiseFloor(flip_rate=0.1, cases=50))
    assert with_comparisons(noisy, others) != noisy


@pytest.mark.parametrize(
    "scenario", SCENARIOS[1:3] + SCENARIOS[5:6] + SCENARIOS[9:10], ids=lambda scenario: scenario.name
)
def test_trainings_without_a_difference_are_left_alone(scenario: Scenario) -> None:
    """A small, seeded part of benchmarks/verdict_simulation.py: 25 trainings show a rate that is far too high."""
    assert false_alarm_rate(scenario, runs=25, seed=1) <= 0.05


def test_the_simulation_would_notice() -> None:
    """The same trainings, without the corrections, raise false alarms."""
    assert false_alarm_rate(SCENARIOS[11], runs=30, seed=1) > 0.1
    assert false_alarm_rate(SCENARIOS[12], runs=30, seed=1) > 0.1


@pytest.mark.parametrize("name", ["wilson 0.5 60", "weighted 0.7 60", "difference 0.05 0.05 60"])
def test_intervals_hold_the_truth(name: str) -> None:
    assert 0.9 <= coverage(name, 300, seed=1) <= 1.0
