"""The page decides as the reports do: case by case, over the same reports as tests/unit/…/test_page_data.py."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from sidestep.evaluator.comparing.comparison import SINGLE, compare
from sidestep.evaluator.presenting.dashboard.segments import member_key
from sidestep.evaluator.presenting.terminal_history import unstable_cases
from tests.browser.page import Page
from tests.fakes.comparable_reports import load_comparable_reports

REPORTS = load_comparable_reports()
KINDS = ("broken", "fixed", "worse", "better")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    return REPORTS.write_dashboard(tmp_path_factory.mktemp("comparable")).as_uri()


@pytest.fixture(autouse=True)
def _quiet(page: Page) -> Iterator[None]:
    yield
    assert page.complaints() == []


def key_of(name: str) -> str:
    return member_key(REPORTS.evaluated[name])


def read_changes(page: Page, before: str, after: str) -> dict[str, Any]:
    """What the page says became of every case between two checkpoints."""
    page.run(f"location.hash = '#/changes?a={key_of(before)}&b={key_of(after)}'")
    chosen = "['before', 'after'].map((name) => document.querySelector(`select[aria-label=${name}]`)?.value)"
    page.wait(lambda: page.run(chosen) == [key_of(before), key_of(after)])
    found: dict[str, Any] = {kind: page.texts(f".changes.{kind} tbody th a") for kind in KINDS}
    text = page.texts(".summary")[0]
    return {**found, "compared": int(text.split(" cases compared")[0].split()[-1]), "rates": text.splitlines()[0]}


def expected_changes(before: str, after: str) -> dict[str, Any]:
    """What the reports say."""
    entry = compare(REPORTS.evaluated[before], REPORTS.evaluated[after], SINGLE, measures=False)
    rates = [f"{100 * rate:.1f} %" if entry.compared_cases else "–" for rate in (entry.rate_before, entry.rate_after)]
    return {
        "broken": sorted(entry.new_failures), "fixed": sorted(entry.fixed_failures),
        "worse": sorted(entry.regressed_tests), "better": sorted(entry.improved_tests),
        "compared": entry.compared_cases, "rates": " → ".join(rates),
    }  # fmt: skip


def test_every_two_checkpoints_are_compared_as_the_reports_compare_them(page: Page, url: str) -> None:
    page.open(url, "#/changes")
    page.wait(lambda: page.all(".summary"))
    wrong = {}
    for before, after in itertools.product(REPORTS.evaluated, repeat=2):
        found, expected = read_changes(page, before, after), expected_changes(before, after)
        # a report may add its verdict to the rates
        shown = {name: sorted(value) if isinstance(value, list) else value for name, value in found.items()}
        shown["rates"] = shown["rates"][: len(expected["rates"])]
        if shown != expected:
            wrong[before, after] = (shown, expected)
    assert wrong == {}


def test_best_base_and_rates_are_those_of_the_reports(page: Page, url: str) -> None:
    for line in REPORTS.expected["lines"]:
        page.open(url, f"#/overview?line={quote(line['name'])}")
        page.wait(lambda: page.all(".checkpoints tbody tr"))
        best = page.run("document.querySelector('.checkpoints tr.best a').getAttribute('href')")
        assert f"b={key_of(line['best'])}" in best
        rows = page.run(
            "[...document.querySelectorAll('.checkpoints tbody tr')].map((row) => ({"
            " link: row.querySelector('th a')?.getAttribute('href') ?? '',"
            " cells: [...row.querySelectorAll('td')].map((cell) => cell.innerText.trim())}))"
        )
        assert f"b={key_of(line['base'])}" in rows[-1]["link"]
        for row in rows:
            name = next((name for name in REPORTS.evaluated if f"b={key_of(name)}" in row["link"]), None)
            if name is None:
                continue
            rate, interval, passed, fixed, broken = row["cells"][:5]
            counts = REPORTS.evaluated[name].test_results
            assert rate == f"{100 * counts.rate:.1f} %"
            assert counts.interval_of_rate
            assert interval.startswith(f"{100 * counts.interval_of_rate.low:.0f} %")
            assert passed == f"{counts.passed}/{counts.passed + counts.failed}"
            previous = REPORTS.expected["previous"].get(name)
            if previous:
                changes = expected_changes(previous, name)
                assert f"a={key_of(previous)}" in row["link"]
                assert (fixed.lstrip("+"), broken.lstrip("−")) == (
                    str(len(changes["fixed"])),
                    str(len(changes["broken"])),
                )


def test_a_line_without_a_choice_compares_its_last_checkpoint_with_the_one_before(page: Page, url: str) -> None:
    for line in REPORTS.expected["lines"]:
        page.open(url, f"#/changes?line={quote(line['name'])}")
        chosen = "['before', 'after'].map((name) => document.querySelector(`select[aria-label=${name}]`)?.value)"
        previous = REPORTS.expected["previous"][line["last"]]
        page.wait(lambda: page.all(".summary"))
        assert page.run(chosen) == [key_of(previous), key_of(line["last"])]


def test_cases_that_changed_more_than_once(page: Page, url: str) -> None:
    for line in REPORTS.expected["lines"]:
        page.open(url, f"#/cases?line={quote(line['name'])}&status=unstable")
        page.wait(lambda: page.all(".count"))
        unstable = unstable_cases(REPORTS.evaluated[name] for name in line["columns"])
        assert page.one(".count").text.startswith(f"{len(unstable)} of ")


def test_the_page_says_what_advice_says_about_the_current_version_only(page: Page, url: str) -> None:
    page.open(url, f"#/overview?line={quote('2 · tiny')}")
    assert "As good, as far as these cases can show: step 10, 20." in page.texts(".card")[2]
    page.open(url, f"#/overview?line={quote('1 · tiny')}")
    assert "As good" not in page.texts(".card")[2]
