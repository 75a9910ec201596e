"""Reports as JSON, Markdown and tables: old keys kept, hostile text inert."""

from __future__ import annotations

import io
import json
import re
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.console import Console

from sidestep.evaluator.cases.result import CaseStatus
from sidestep.evaluator.comparing.comparison import compare
from sidestep.evaluator.presenting.markdown import report_markdown, visible
from sidestep.evaluator.presenting.tables import StatusRow, comparison_table, status_table, summary_table
from sidestep.evaluator.results.counting import count_results
from sidestep.evaluator.results.migration import parse_report
from sidestep.evaluator.results.report import ComparisonEntry, InvalidReport, Report, outcome_of
from sidestep.shared.protocol.outcomes import parse_outcome
from tests.fakes.reports import FAIL, PASS, make_report

HOSTILE = [
    "<script>alert(1)</script>",
    '<img src=x onerror="alert(1)">',
    "<svg/onload=alert(1)>",
    "[click](javascript:alert(1))",
    "![x](http://example.com/x.png)",
    "<http://example.com>",
    "http://example.com www.example.com mail@example.com",
    "```\n</code></pre><script>\n```",
    "~~~~~~~~~~",
    "| a | b |\n|---|---|",
    "\x1b[31mred\x1b]0;title\x07",
    "\u202eevil\u2066\u200f",
    "# heading\n\n- list\n\n> quote\n\n---",
    "[ref]: http://example.com\n\n[ref]",
    "&lt;script&gt; &#60;b&#62; $x$ *a* _b_ `c`",
    "\ud800",
    "    indented\n\n</div>",
]


def _hostile(text: str, *, case_id: str = "a") -> Report:
    report = make_report(10, {"a": FAIL, "b": PASS})
    case = report.test_cases[0]
    case = replace(case, id=case_id, name=text, output=text, category=text, keywords_found=(text,))
    return replace(
        report,
        test_cases=(case,),
        expert_name=text,
        expert_version=text,
        reason=text,
        categories={text: count_results(())},
    )


def _tokens(markdown: str) -> set[str]:
    found = set()
    for token in MarkdownIt("gfm-like", {"html": True, "linkify": False}).parse(markdown):
        found |= {token.type, *(child.type for child in token.children or ())}
    return found


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_inert_in_markdown(text: str) -> None:
    for case_id in ("a", text):  # the name is shown where it is not the id
        markdown = report_markdown(_hostile(text, case_id=case_id))
        found = _tokens(markdown)
        assert not found & {"html_block", "html_inline", "link_open", "image", "fence", "blockquote_open", "hr"}
        assert markdown.count("\n| ") == 2  # head and one row: no cell broke out
        assert not any(ord(character) < 32 and character != "\n" for character in markdown)
        assert "\u202e" not in markdown


@given(st.text(max_size=80))
@settings(max_examples=60, deadline=None)
def test_no_text_breaks_out_of_markdown(text: str) -> None:
    markdown = report_markdown(_hostile(text)) + report_markdown(_hostile(text, case_id=text))
    assert not _tokens(markdown) & {"html_block", "html_inline", "link_open", "image", "fence"}


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_inert_in_a_terminal(text: str) -> None:
    console = Console(width=200, record=True, file=io.StringIO())
    report = _hostile(text)
    console.print(summary_table([report]))
    console.print(comparison_table(compare(report, report), report))
    console.print(status_table([StatusRow(text, "pending", text)]))
    printed = console.export_text()
    assert "\x1b" not in printed
    assert "\u202e" not in printed


@pytest.mark.parametrize("text", HOSTILE)
def test_reports_are_valid_json_whatever_was_said(text: str) -> None:
    assert json.loads(_hostile(text).to_bytes())["test_cases"][0]["id"] == "a"


def test_numbers_that_json_does_not_know() -> None:
    report = make_report(10, {"a": (FAIL, float("nan"))})
    assert json.loads(report.to_bytes())["test_cases"][0]["score"] is None


def test_old_readers_find_their_keys() -> None:
    document = json.loads(make_report(10, {"a": PASS, "b": (CaseStatus.UNSCORED, None)}).to_bytes())
    assert (document["checkpoint"], document["step"]) == ("checkpoint-10", 10)
    assert {"timestamp", "expert_name", "expert_version"} <= set(document)
    assert {key: document["test_results"][key] for key in ("total", "passed", "failed", "success_rate")} == {
        "total": 2, "passed": 1, "failed": 0, "success_rate": 1.0
    }  # fmt: skip
    case = document["test_cases"][0]
    assert {"id", "name", "status", "score", "output", "expected_keywords", "keywords_found"} <= set(case)
    assert set(document["comparison"]) == {
        "previous_checkpoint", "improvements", "regressions", "new_failures", "fixed_failures", "improved_tests",
        "regressed_tests",
    }  # fmt: skip


def test_counts_keep_may_fail_and_unscored_apart() -> None:
    statuses = dict(
        enumerate([PASS, FAIL, FAIL, CaseStatus.UNSCORED, CaseStatus.EXPECTED_FAILURE, CaseStatus.UNEXPECTED_PASS])
    )
    counts = make_report(1, {str(n): (status, None) for n, status in statuses.items()}).test_results
    assert (counts.total, counts.passed, counts.failed, counts.unscored) == (6, 1, 2, 1)
    assert (counts.expected_failures, counts.unexpected_passes) == (1, 1)
    assert counts.success_rate == pytest.approx(1 / 3)


def test_round_trip_and_foreign_files() -> None:
    report = make_report(10, {"a": PASS})
    assert parse_report(report.to_bytes()) == report
    record = outcome_of(report)
    assert parse_outcome(record.to_bytes()) == record
    assert parse_outcome(b"{}") is None
    with pytest.raises(InvalidReport, match="checkpoint"):
        parse_report(b"{}")


def test_a_row_finds_its_answer() -> None:
    report = make_report(20, {"login": FAIL, "refund": PASS})
    entry = ComparisonEntry(against="checkpoint-10", new_failures=("login",))
    cases = (replace(report.test_cases[0], name="Logging in"), report.test_cases[1])
    markdown = report_markdown(replace(report, test_cases=cases, comparisons={"previous": entry}))
    rows = re.findall(r"^\| (\w+) \|", markdown, re.MULTILINE)
    assert rows == ["Case", "login", "refund"]
    assert re.findall(r"^### (.*)$", markdown, re.MULTILINE) == ["login", "refund"]
    assert "- Newly broken: login\n" in markdown
    assert "### login\n\nName: Logging in\n\n    answer of login" in markdown
    assert "Name: refund" not in markdown


def test_long_outputs_are_cut_in_markdown_only() -> None:
    report = make_report(10, {"a": PASS})
    case = replace(report.test_cases[0], output="x" * 2000)
    report = replace(report, test_cases=(case,))
    assert "1500 more characters" in report_markdown(report)
    assert "x" * 2000 in report.to_bytes().decode()


def test_visible() -> None:
    assert visible("a\tb\n\x1b\u202e\ud800") == "a\tb\n\\x1b\\u202e\\ud800"


def test_the_document_names_every_key() -> None:
    text = (Path(__file__).resolve().parents[4] / "docs" / "reports.md").read_text()
    assert [field.name for field in fields(Report) if f"`{field.name}`" not in text] == []
