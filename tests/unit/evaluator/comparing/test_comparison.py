"""What counts as broken and fixed, and against whom."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sidestep.evaluator.cases.exchange import EngineInfo
from sidestep.evaluator.cases.result import CaseStatus
from sidestep.evaluator.comparing.comparison import compare, with_comparisons
from sidestep.evaluator.presenting.comparison_json import comparison_json
from sidestep.shared.protocol.outcomes import Outcome
from tests.fakes.reports import FAIL, PASS, make_report

UNSCORED, EXPECTED, UNEXPECTED = CaseStatus.UNSCORED, CaseStatus.EXPECTED_FAILURE, CaseStatus.UNEXPECTED_PASS


@pytest.mark.parametrize(
    ("before", "after", "group"),
    [
        (PASS, FAIL, "new_failures"),
        (FAIL, PASS, "fixed_failures"),
        ((FAIL, 1.0), (FAIL, 2.5), "improved_tests"),
        ((PASS, 10.0), (PASS, 8.5), "regressed_tests"),
        ((FAIL, 1.0), (FAIL, 2.0), None),
        (PASS, PASS, None),
        (UNSCORED, FAIL, None),
        (PASS, UNSCORED, None),
        (EXPECTED, UNEXPECTED, None),
    ],
)
def test_a_case_counts_once(before: CaseStatus, after: CaseStatus, group: str | None) -> None:
    entry = compare(make_report(10, {"a": before}), make_report(20, {"a": after}))
    groups = ("new_failures", "fixed_failures", "improved_tests", "regressed_tests")
    assert [name for name in groups if getattr(entry, name)] == ([group] if group else [])


def test_only_unchanged_cases_of_both_are_compared() -> None:
    before = make_report(10, {"a": PASS, "b": PASS, "gone": PASS})
    after = make_report(20, {"a": FAIL, "b": FAIL, "new": FAIL}, suite_hash="other")
    changed = replace(after.test_cases[1], definition_hash="changed")
    after = replace(after, test_cases=(after.test_cases[0], changed, after.test_cases[2]))
    entry = compare(before, after)
    assert (entry.new_failures, entry.compared_cases) == (("a",), 1)
    assert (entry.rate_before, entry.rate_after) == (1.0, 0.0)
    assert entry.notes == ("the test cases differ: 1 unchanged cases are compared",)


def test_notes_on_other_conditions() -> None:
    before = make_report(10, {"a": PASS})
    after = make_report(20, {"a": PASS}, decoding_hash="x", environment=EngineInfo(device="cuda", dtype="bfloat16"))
    notes = " ".join(compare(before, after).notes)
    assert "decoding settings differ" in notes
    assert "dtype differs (float32 before, bfloat16 now)" in notes
    assert "device differs" in notes


def test_against_whom() -> None:
    reports = [
        make_report(None, {"a": FAIL, "b": FAIL}),
        make_report(10, {"a": PASS, "b": PASS}),
        make_report(20, {"a": FAIL, "b": PASS}),
        make_report(30, {"a": PASS, "b": FAIL}),
        make_report(40, {"a": PASS, "b": PASS}, version="0"),
        replace(make_report(25, {"a": PASS, "b": PASS}), outcome=Outcome.ERROR),
    ]
    report = with_comparisons(reports[3], [report for report in reports if report is not reports[3]])
    against = {name: (entry.against, entry.against_version) for name, entry in report.comparisons.items()}
    assert against == {
        "previous": ("checkpoint-20", "1"),
        "best": ("checkpoint-10", "1"),
        "base": ("base", "1"),
        "previous_version": ("checkpoint-40", "0"),
        "previous_version_best": ("checkpoint-40", "0"),
    }
    legacy = report.comparison
    assert (legacy.previous_checkpoint, legacy.improvements, legacy.regressions) == ("checkpoint-20", 1, 1)
    assert (legacy.fixed_failures, legacy.new_failures) == (("a",), ("b",))


def test_the_first_checkpoint_has_no_previous_one() -> None:
    report = with_comparisons(make_report(10, {"a": PASS}), [make_report(20, {"a": FAIL})])
    assert report.comparison.previous_checkpoint is None
    assert report.comparisons == {}


def test_history_of_every_case_over_checkpoints_and_versions() -> None:
    old = make_report(10, {"a": FAIL}, version="0")
    current = [make_report(10, {"a": PASS}), make_report(20, {"a": FAIL}), make_report(30, {"a": PASS}),
               replace(make_report(40, {}), outcome=Outcome.REJECTED, reason="r")]  # fmt: skip
    document = comparison_json(current, [old])
    assert document["best_checkpoint"] == "checkpoint-30"
    assert [(result["expert_version"], result["status"]) for result in document["cases"]["a"]["results"]] == [
        ("0", "failed"), ("1", "passed"), ("1", "failed"), ("1", "passed")
    ]  # fmt: skip
    assert [checkpoint["archived"] for checkpoint in document["checkpoints"]] == [True, False, False, False, False]
    assert document["checkpoints"][-1]["success_rate"] is None
