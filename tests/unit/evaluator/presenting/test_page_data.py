"""The page's data decide as the reports do: case by case, over reports that are hard to compare.

tests/browser/test_comparisons.py asks the page itself the same, from the same reports.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sidestep.evaluator.comparing.advice import advice_from
from sidestep.evaluator.comparing.comparison import SINGLE, compare, interchangeable_definitions, is_same_definition
from sidestep.evaluator.presenting.dashboard.page_data import page_data, segments_of, sort_by_time
from sidestep.evaluator.presenting.dashboard.segments import CaseList, pack
from sidestep.evaluator.presenting.lines import headline_of, lines_of
from sidestep.evaluator.presenting.terminal_history import history_lines, unstable_cases
from sidestep.evaluator.results.evidence import VerdictEntry, VerdictWord
from sidestep.evaluator.results.report import ComparisonEntry
from sidestep.evaluator.results.store import StoredReport
from tests.fakes.comparable_reports import ComparableReports, load_comparable_reports
from tests.fakes.packed import unpack
from tests.fakes.reports import FAIL, PASS, make_report

REPORTS = load_comparable_reports()
BETTER, WORSE, UNDECIDED = VerdictWord.BETTER, VerdictWord.WORSE, VerdictWord.UNDECIDED


class PageReader:
    """Reads page data as the page does: looks numbers up, and compares them for being equal."""

    def __init__(self, reports: ComparableReports) -> None:
        ordered = sort_by_time(list(reports.stored.values()))
        segments = [pack(members) for members in segments_of(ordered)]
        lists: dict[str, CaseList] = {}
        for segment in segments:
            lists |= segment.case_lists
        document = page_data(ordered, lists, advice=advice_from(reports.current))
        self.data: dict[str, Any] = json.loads(json.dumps(document, default=str))
        self._rows = {segment.key: unpack(segment.rows) for segment in segments}
        self.checkpoints = {reports.names[checkpoint["key"]]: checkpoint for checkpoint in self.data["checkpoints"]}
        self._statuses = {status["letter"]: status for status in self.data["statuses"]}
        self._interchangeable = {tuple(entry) for entry in self.data["interchangeable"]}

    def results(self, name: str) -> dict[int, tuple[dict[str, Any], float, int]]:
        """Status, score that counts and definition of every case that a checkpoint was asked."""
        checkpoint = self.checkpoints[name]
        rows = self._rows[checkpoint["segment"]]
        row = rows["members"][checkpoint["member"]]
        columns = self.data["case_lists"][row["case_list"]]
        scores = [float(rows["scores"]["compared"][number]) for number in row["scores"]]
        statuses = [self._statuses[letter] for letter in row["statuses"]]
        return dict(zip(columns["cases"], zip(statuses, scores, columns["definitions"], strict=True), strict=True))

    def compare(self, before: str, after: str) -> dict[str, Any]:
        found: dict[str, Any] = {"compared": 0, "broken": [], "fixed": [], "worse": [], "better": []}
        old = self.results(before)
        for case, (status, score, definition) in self.results(after).items():
            if case not in old:
                continue
            old_status, old_score, old_definition = old[case]
            pairs = {(case, old_definition, definition), (case, definition, old_definition)}
            if not (old_status["decided"] and status["decided"]):
                continue
            if old_definition != definition and not pairs & self._interchangeable:
                continue
            found["compared"] += 1
            moved = score - old_score
            if old_status["passed"] is not status["passed"]:
                found["fixed" if status["passed"] else "broken"].append(self.data["cases"]["ids"][case])
            elif abs(moved) > self.data["score_move"]:
                found["better" if moved > 0 else "worse"].append(self.data["cases"]["ids"][case])
        return found


READER = PageReader(REPORTS)


def as_compared(entry: ComparisonEntry) -> dict[str, Any]:
    return {
        "compared": entry.compared_cases,
        "broken": list(entry.new_failures),
        "fixed": list(entry.fixed_failures),
        "worse": list(entry.regressed_tests),
        "better": list(entry.improved_tests),
    }


@pytest.mark.parametrize(("before", "after"), list(itertools.product(REPORTS.evaluated, repeat=2)))
def test_the_page_has_what_it_takes_to_decide_as_the_reports_do(before: str, after: str) -> None:
    entry = compare(REPORTS.evaluated[before], REPORTS.evaluated[after], SINGLE, measures=False)
    assert READER.compare(before, after) == as_compared(entry)


@pytest.mark.parametrize("expected", REPORTS.expected["pairs"], ids=lambda pair: f"{pair['before']} to {pair['after']}")
def test_comparisons_written_by_hand(expected: dict[str, Any]) -> None:
    before, after = REPORTS.evaluated[expected["before"]], REPORTS.evaluated[expected["after"]]
    found = as_compared(compare(before, after, SINGLE, measures=False))
    assert {name: sorted(cases) if name != "compared" else cases for name, cases in found.items()} == {
        name: sorted(cases) if name != "compared" else cases
        for name, cases in expected.items()
        if name not in ("before", "after")
    }


def test_lines_written_by_hand() -> None:
    name_of = REPORTS.names
    found = [
        {
            "name": line["key"],
            "columns": [name_of[key] for key in line["columns"]],
            **{role: name_of[line[role]] for role in ("base", "best", "last")},
            "archived": line["archived"],
        }
        for line in READER.data["lines"]
    ]
    assert found == REPORTS.expected["lines"]


def test_the_history_in_a_terminal_has_the_same_lines() -> None:
    stored = REPORTS.stored
    expected = [
        (line["name"], [(stored[name].report.checkpoint, stored[name].archived) for name in line["columns"]])
        for line in reversed(REPORTS.expected["lines"])
    ]
    found = [
        (f"{line.version} · {line.model_folder}", [(point.checkpoint, point.archived) for point in line.points])
        for line in history_lines(stored.values())
    ]
    assert found == expected


def test_the_previous_checkpoint_is_the_one_of_the_report() -> None:
    previous = {
        name: REPORTS.names[checkpoint["previous"]]
        for name, checkpoint in READER.checkpoints.items()
        if checkpoint["previous"]
    }
    assert previous == REPORTS.expected["previous"]
    for name, report in REPORTS.evaluated.items():
        if "previous" in report.comparisons:
            named = REPORTS.evaluated[previous[name]]
            assert named.identity.id == report.comparisons["previous"].against_id


def test_best_and_base_are_those_of_advice_and_reports() -> None:
    advice = advice_from(REPORTS.current)
    for line in lines_of(sort_by_time(list(REPORTS.stored.values())), advice=None):
        assert line.best
        assert line.base
        assert line.last
        if not line.archived:
            best = advice.models[line.model_folder].best
            assert (best.step, best.files_hash) == (line.best.report.step, line.best.report.identity.key.files_hash)
        if "base" in line.last.report.comparisons:
            assert line.base.report.identity.id == line.last.report.comparisons["base"].against_id


def test_advice_of_another_version_or_of_an_archived_line_is_not_shown() -> None:
    advice = {line["key"]: line["advice"] for line in READER.data["lines"]}
    assert {name for name, given in advice.items() if given} == {"2 · tiny", "2 · tiny-b"}


def test_rates_are_those_by_which_checkpoints_are_ranked() -> None:
    for name, report in REPORTS.evaluated.items():
        checkpoint = READER.checkpoints[name]
        interval = report.test_results.interval_of_rate
        assert checkpoint["rate"] == report.test_results.rate
        assert interval
        assert checkpoint["interval"] == [interval.low, interval.high]
    assert READER.checkpoints["other model 10"]["rate"] == pytest.approx(3 / 4.5)
    assert READER.checkpoints["25, rejected"]["rate"] is None


def test_cases_that_changed_more_than_once() -> None:
    for line in READER.data["lines"]:
        reports = [REPORTS.evaluated[REPORTS.names[key]] for key in line["columns"]]
        expected = REPORTS.expected["changed more than once"].get(line["key"], [])
        assert list(unstable_cases(reports)) == expected


@pytest.mark.parametrize("hashes", [[], ["a"], ["a", "b"], ["", "a", "b"], ["a", "", "b"], [""]])
def test_interchangeable_definitions_are_all_that_are_the_same_though_they_differ(hashes: list[str]) -> None:
    pairs = {frozenset(pair) for pair in itertools.combinations(hashes, 2) if is_same_definition(*pair)}
    assert {frozenset(pair) for pair in interchangeable_definitions(hashes)} == pairs


def _entry(against: str, word: VerdictWord | None) -> ComparisonEntry:
    return ComparisonEntry(against=against, verdict=VerdictEntry(word=word) if word else None)


@pytest.mark.parametrize(
    ("comparisons", "headline"),
    [
        ({}, None),
        ({"previous": None}, None),
        ({"previous": UNDECIDED, "base": UNDECIDED}, ("", "No difference shown yet")),
        ({"previous": UNDECIDED, "base": BETTER}, ("good", "Better than the base model")),
        ({"previous": BETTER, "best": UNDECIDED}, ("good", "Better than previous")),
        ({"previous": BETTER, "best": BETTER}, ("good", "Better than best")),
        ({"previous": BETTER, "base": WORSE}, ("bad", "Worse than the base model")),
        (
            {"previous": WORSE, "base": WORSE, "best": BETTER},
            ("bad", "Worse than previous"),
        ),
    ],
)
def test_the_headline_says_what_the_verdicts_allow(
    comparisons: dict[str, VerdictWord | None], headline: tuple[str, str] | None
) -> None:
    report = make_report(20, {"a": PASS, "b": FAIL})
    given = {name: _entry(name, word) for name, word in comparisons.items()}
    stored = StoredReport(Path(), replace(report, comparisons=given), False)
    found = headline_of(lines_of([stored])[0])
    assert (found and (found.tone, found.text)) == headline


def test_the_trend_comes_before_the_verdicts() -> None:
    stored = REPORTS.stored["30"]
    advice = advice_from(REPORTS.current)
    for word, tone, text in (
        ("rising", "good", "Rising over 8 checkpoints"),
        ("falling", "bad", "Falling over 8 checkpoints"),
    ):
        trend = replace(advice.models["tiny"].trend, word=word, over_checkpoints=8)
        models = {"tiny": replace(advice.models["tiny"], trend=trend)}
        found = headline_of(lines_of([stored], replace(advice, models=models))[0])
        assert found
        assert (found.tone, found.text) == (tone, text)


def test_reports_of_old_name_what_they_were_compared_with() -> None:
    """Before comparisons gave an identity, they gave a name and a version."""
    entry = ComparisonEntry(against="checkpoint-10", against_version="1")
    reports = [make_report(10, {"a": PASS}), make_report(20, {"a": FAIL}, comparisons={"best": entry})]
    data = page_data([StoredReport(Path(), report, False) for report in reports], {})
    assert data["checkpoints"][1]["comparisons"]["best"]["key"] == data["checkpoints"][0]["key"]


def test_a_base_model_alone_is_a_line() -> None:
    data = page_data(sort_by_time([REPORTS.stored["base"]]), {})
    (line,) = data["lines"]
    assert (line["key"], line["base"], line["columns"]) == ("base", line["columns"][0], line["columns"])
    assert page_data([], {})["lines"] == []
