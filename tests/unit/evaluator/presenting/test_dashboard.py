"""The dashboard's file: what it is made of, what it costs to bring up to date, and that nothing in it can escape."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sidestep.evaluator.cases.case import Case, Message, Suite
from sidestep.evaluator.presenting.dashboard import build, page, vendored
from sidestep.evaluator.presenting.dashboard.cache import cache_folder
from sidestep.evaluator.presenting.dashboard.segments import SEGMENT_SIZE, pack
from sidestep.evaluator.reporting.commit import commit_report
from sidestep.evaluator.reporting.derived_files import refresh_derived_files
from sidestep.evaluator.results.report import Report
from sidestep.evaluator.results.store import StoredReport
from sidestep.evaluator.results.suites import keep_suite, read_suite
from sidestep.shared.protocol.layout import ReportsFolder
from tests.fakes.packed import unpack
from tests.fakes.reports import FAIL, PASS, make_report

REPOSITORY = Path(__file__).resolve().parents[4]


def _stored(*reports: Report, archived: bool = False) -> list[StoredReport]:
    return [StoredReport(Path(), report, archived) for report in reports]


def _blocks(reports: ReportsFolder) -> dict[str, Any]:
    found = re.findall(r'<script type="text/plain" id="([^"]+)">([^<]*)</script>', reports.dashboard.read_text())
    return {name: unpack(letters) for name, letters in found}


@pytest.fixture
def reports(tmp_path: Path) -> ReportsFolder:
    return ReportsFolder(tmp_path)


def test_everything_of_a_report_is_in_the_file(reports: ReportsFolder) -> None:
    first, second = make_report(10, {"a": PASS, "b": (FAIL, 2.5)}), make_report(20, {"a": FAIL, "b": PASS})
    build.write_dashboard(reports, [*_stored(second), *_stored(first, archived=True)])
    blocks = _blocks(reports)
    data = blocks["page-data"]
    checkpoints = data["checkpoints"]
    assert [(checkpoint["checkpoint"], checkpoint["archived"], checkpoint["member"]) for checkpoint in checkpoints] == [
        ("checkpoint-10", True, 0), ("checkpoint-20", False, 1)
    ]  # fmt: skip
    assert "test_cases" not in checkpoints[0]
    rows = blocks[f"rows-{checkpoints[0]['segment']}"]
    assert rows["scores"] == {"shown": [10.0, 2.5, 0.0], "compared": [10.0, 2.5, 0.0]}
    assert [(row["statuses"], row["scores"]) for row in rows["members"]] == [("pf", [0, 1]), ("fp", [2, 0])]
    assert data["case_lists"][rows["members"][0]["case_list"]] == {"cases": [0, 1], "definitions": [0, 0]}
    assert data["cases"]["ids"] == ["a", "b"]
    answers = blocks[f"answers-{checkpoints[0]['segment']}"]
    assert answers["outputs"][answers["cases"].index("b")] == ["answer of b", "answer of b"]


def test_a_commit_brings_it_up_to_date(reports: ReportsFolder) -> None:
    for step in (10, 20):
        assert commit_report(reports, make_report(step, {"a": PASS}))
        refresh_derived_files(reports)
        assert _blocks(reports)["page-data"]["checkpoints"][-1]["step"] == step


def test_a_dashboard_that_cannot_be_written_stops_nothing(
    reports: ReportsFolder, caplog: pytest.LogCaptureFixture
) -> None:
    reports.dashboard.mkdir()
    assert commit_report(reports, make_report(10, {"a": PASS}))
    assert [stored.report.step for stored in refresh_derived_files(reports)] == [10]
    assert reports.comparison.is_file()


def test_a_new_report_packs_one_segment(reports: ReportsFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    packed: list[int] = []

    def counting(members: list[Report]) -> Any:
        packed.append(len(members))
        return pack(members)

    monkeypatch.setattr(build, "pack", counting)
    stored: list[StoredReport] = []
    for step in range(1, 3 * SEGMENT_SIZE + 1):
        stored += _stored(make_report(step, {"a": PASS}))
        build.write_dashboard(reports, stored)
    assert packed == [*range(1, SEGMENT_SIZE + 1)] * 3
    assert len(list(cache_folder(reports).glob("?" * 32 + ".json"))) == 3
    assert len([name for name in _blocks(reports) if name.startswith("answers-")]) == 3


def test_without_its_cache_the_same_file_is_written(reports: ReportsFolder) -> None:
    stored = _stored(*(make_report(step, {"a": PASS}) for step in range(1, 12)))
    build.write_dashboard(reports, stored)
    before = reports.dashboard.read_bytes()
    for path in cache_folder(reports).iterdir():
        path.write_text("{torn")
    build.write_dashboard(reports, stored)
    assert reports.dashboard.read_bytes() == before


def test_a_forced_rerun_is_another_evaluation(reports: ReportsFolder) -> None:
    old, new = make_report(10, {"a": FAIL}), make_report(10, {"a": PASS}, finished_at="2026-01-02T00:00:00")
    build.write_dashboard(reports, _stored(old, archived=True))
    build.write_dashboard(reports, [*_stored(old, archived=True), *_stored(new)])
    keys = [checkpoint["key"] for checkpoint in _blocks(reports)["page-data"]["checkpoints"]]
    assert len(set(keys)) == 2


def test_hostile_text_is_only_in_packed_letters(reports: ReportsFolder) -> None:
    hostile = "</script><script>alert(1)</script>\ud800"
    report = make_report(10, {"a": FAIL}, version="1<script>alert(1)</script>")
    case = replace(report.test_cases[0], output=hostile, id=hostile, name=hostile)
    report = replace(report, test_cases=(case,), expert_name=hostile, reason=hostile)
    build.write_dashboard(reports, _stored(report))
    text = reports.dashboard.read_text()
    assert "alert(1)" not in text.replace("&lt;script&gt;alert(1)&lt;/script&gt;", "")
    assert text.count("<script>") == 1
    outputs = next(block for name, block in _blocks(reports).items() if name.startswith("answers-"))["outputs"]
    assert outputs == [["</script><script>alert(1)</script>?"]]


def test_the_policy_names_the_code_and_nothing_else(reports: ReportsFolder) -> None:
    build.write_dashboard(reports, _stored(make_report(10, {"a": PASS})))
    text = reports.dashboard.read_text()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy
    rules = dict(rule.split(" ", 1) for rule in policy[1].replace("&#x27;", "'").split("; "))
    for tag, rule in (("script", "script-src"), ("style", "style-src")):
        content = re.search(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        assert content
        digest = base64.b64encode(hashlib.sha256(content[1].encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{digest}'"
    assert rules["default-src"] == rules["connect-src"] == rules["trusted-types"] == "'none'"
    assert "unsafe" not in policy[1]


def test_nothing_outside_is_referred_to() -> None:
    code = "".join(path.read_text() for path in sorted(page.ASSETS.iterdir()))
    assert re.findall(r"https?://|url\(|@import|<link|innerHTML|insertAdjacentHTML|document\.write|eval\(", code) == []


def test_sources_can_be_read_in_one_go() -> None:
    assert [path.name for path in page.ASSETS.iterdir() if len(path.read_text().splitlines()) > 400] == []
    assert {path.name for path in page.ASSETS.iterdir()} == {"page.html", *page.SCRIPTS, *page.STYLES}


def test_foreign_code_is_what_the_record_says() -> None:
    assert vendored.find_mistakes() == []
    assert "Permission is hereby granted" in page.script()


def test_prompts_are_kept_once_for_each_suite(reports: ReportsFolder) -> None:
    case = Case("a", "a", (Message("user", "How many?"),), reference="three")
    suite = Suite("s", "1", (case,), "0" * 64)
    keep_suite(reports, suite)
    keep_suite(reports, suite)
    kept = read_suite(reports, "0" * 64)
    assert kept
    assert kept["cases"]["a"]["messages"] == [{"role": "user", "content": "How many?"}]
    build.write_dashboard(reports, _stored(make_report(10, {"a": PASS}, suite_hash="0" * 64)))
    assert _blocks(reports)["suite-" + "0" * 64]["a"]["reference"] == "three"
    assert read_suite(reports, "../../etc/passwd") is None
