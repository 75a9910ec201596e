"""JUnit XML, step summary, tables and metrics, read by the programs that they are for."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import httpx
import pandas as pd
import pytest
from junitparser import JUnitXml
from prometheus_client.parser import text_string_to_metric_families

from sidestep.evaluator.cases.result import CaseStatus
from sidestep.evaluator.exporting.junit import write_junit
from sidestep.evaluator.exporting.prometheus import Metrics, serve_metrics
from sidestep.evaluator.exporting.step_summary import append_step_summary
from sidestep.evaluator.exporting.tables import write_table
from sidestep.evaluator.results.report import LegacyComparison, Report
from sidestep.evaluator.results.store import read_reports
from sidestep.shared.errors import ConfigError
from sidestep.shared.protocol.layout import ReportsFolder
from sidestep.shared.protocol.outcomes import Outcome
from sidestep.shared.protocol.presence import FRESH_SECONDS, Presence
from tests.fakes.reports import PASS, make_report
from tests.unit.evaluator.exporting.conftest import commit


def _reports(reports: ReportsFolder, *, hostile: bool = False) -> list[Report]:
    for step in (20, 30):
        commit(reports, step, hostile=hostile)
    return [entry.report for entry in read_reports(reports)]


def test_junit(reports: ReportsFolder, tmp_path: Path) -> None:
    write_junit(tmp_path / "new" / "junit.xml", _reports(reports))
    suites = {suite.name: suite for suite in JUnitXml.fromfile(str(tmp_path / "new" / "junit.xml"))}
    newest = suites["shop 1 checkpoint-30"]
    assert (newest.tests, newest.failures, newest.errors) == (2, 1, 0)
    failed, passed = newest
    assert (failed.name, failed.result[0].type, passed.result) == ("a", "regression", [])
    assert failed.result[0].text == "answer of a"
    assert {item.name: item.value for item in newest.properties()}["success_rate"] == "0.5000"


def test_junit_of_what_did_not_fail(tmp_path: Path) -> None:
    statuses = {"u": CaseStatus.UNSCORED, "e": CaseStatus.EXPECTED_FAILURE, "p": CaseStatus.UNEXPECTED_PASS}
    rejected = replace(make_report(5, {}), outcome=Outcome.REJECTED, reason="one bit flipped")
    write_junit(tmp_path / "junit.xml", [make_report(10, statuses), rejected])
    first, second = JUnitXml.fromfile(str(tmp_path / "junit.xml"))
    assert (first.skipped, first.failures) == (2, 0)
    assert (second.errors, next(iter(second)).result[0].message) == (1, "one bit flipped")


def test_hostile_answers_are_text_in_junit_and_summary(
    reports: ReportsFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = _reports(reports, hostile=True)
    write_junit(tmp_path / "junit.xml", found)
    text = (tmp_path / "junit.xml").read_bytes()
    ElementTree.fromstring(text)
    assert b"<script>" not in text
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    append_step_summary(found)
    append_step_summary([])
    summary = (tmp_path / "summary.md").read_text()
    assert "<script>" not in summary.replace("\\<script\\>", "")
    assert "| checkpoint-30 | 1 of 2 | 50.0% |" in summary.replace("\\", "")
    assert summary.count("## Sidestep") == 1


def test_no_step_summary_outside_of_github(reports: ReportsFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    append_step_summary(_reports(reports))


@pytest.mark.parametrize(("name", "read"), [("all.parquet", pd.read_parquet), ("all.csv", pd.read_csv)])
def test_tables_for_pandas(reports: ReportsFolder, tmp_path: Path, name: str, read) -> None:  # type: ignore[no-untyped-def]
    commit(reports, 10)
    commit(reports, 20)
    commit(reports, 20, second=1)  # the replaced report is in the table, too
    assert write_table(tmp_path / name, read_reports(reports)) == 6
    table = read(tmp_path / name)
    current = table[~table.archived]
    assert current.groupby("step").status.apply(lambda statuses: (statuses == "passed").mean()).to_dict() == {
        10: 0.5,
        20: 1.0,
    }
    assert set(table[table.archived].step) == {20}


def test_a_table_needs_a_known_ending(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="neither"):
        write_table(tmp_path / "x.xlsx", [])


def test_metrics_and_health() -> None:
    now = [0.0]
    metrics = Metrics("shop", clock=lambda: now[0])
    report = make_report(20, {"a": PASS}, comparison=LegacyComparison(new_failures=("b",)))
    with serve_metrics(metrics, 0) as port:
        address = f"http://127.0.0.1:{port}"
        metrics.on_state(Presence("h", 1, 0.0, 0.0, "evaluating", "checkpoint-30", 3, 8, 2))
        metrics.on_report(report, [30])
        metrics.on_report(make_report(10, {}), [30])
        metrics.on_report(make_report(40, {}, outcome=Outcome.REJECTED), [30])
        text = httpx.get(f"{address}/metrics").text
        found = {
            (sample.name, *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }
        assert found["sidestep_newest_step", "shop"] == 20
        assert found["sidestep_success_rate", "shop"] == 1.0
        assert found["sidestep_newly_broken_cases", "shop"] == 1
        assert found["sidestep_outcomes_total", "shop", "evaluated"] == 2
        assert found["sidestep_outcomes_total", "shop", "rejected"] == 1
        assert found["sidestep_pending_checkpoints", "shop"] == 2
        assert (found["sidestep_cases_done", "shop"], found["sidestep_cases", "shop"]) == (3, 8)
        assert found["sidestep_state", "shop", "evaluating"] == 1
        assert httpx.get(f"{address}/healthz").status_code == 200
        now[0] = FRESH_SECONDS + 1
        assert httpx.get(f"{address}/healthz").status_code == 503
        assert httpx.get(f"{address}/other").status_code == 404
        with pytest.raises(ConfigError, match="cannot listen"), serve_metrics(metrics, port):
            pass
