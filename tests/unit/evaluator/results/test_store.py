"""Reports on disk: committed once, archived and never lost, and the files derived from them."""

from __future__ import annotations

import json
import multiprocessing
import os
from pathlib import Path

import pytest

from sidestep.evaluator.reporting.commit import commit_report
from sidestep.evaluator.reporting.derived_files import refresh_derived_files
from sidestep.evaluator.results.store import list_outcomes, read_reports, safe_name
from sidestep.shared.protocol.layout import ReportsFolder
from tests.fakes.reports import FAIL, PASS, make_report


@pytest.fixture
def reports(tmp_path: Path) -> ReportsFolder:
    return ReportsFolder(tmp_path / "training_reports")


def _names(reports: ReportsFolder) -> list[str]:
    return sorted(path.name for path in reports.root.iterdir() if not path.name.endswith(".lock"))


def test_a_commit_is_whole_and_the_same_identity_commits_once(reports: ReportsFolder) -> None:
    report = make_report(10, {"a": PASS})
    assert commit_report(reports, report)
    assert not commit_report(reports, report)
    assert sorted(path.name for path in reports.checkpoint(10).iterdir()) == [
        "outcome.json",
        "report.json",
        "report.md",
    ]
    assert _names(reports) == ["checkpoint-10"]
    assert [record.identity for record in list_outcomes(reports)] == [report.identity]


def test_another_identity_of_the_same_step_archives_the_old_one(reports: ReportsFolder) -> None:
    first, second = make_report(10, {"a": PASS}), make_report(10, {"a": FAIL}, version="2/../x")
    third = make_report(10, {"a": FAIL}, salt="again")
    assert all(commit_report(reports, report) for report in (first, second, third))
    archived = {str(path.parent.relative_to(reports.archive)) for path in reports.archive.rglob("report.json")}
    assert archived == {"1/tiny/checkpoint-10", "2_.._x/tiny/checkpoint-10"}
    assert not commit_report(reports, first)  # done, although archived
    assert len(list_outcomes(reports)) == 3


def test_forced_rerun_archives_and_takes_the_place(reports: ReportsFolder) -> None:
    report = make_report(10, {"a": PASS})
    commit_report(reports, report)
    assert commit_report(reports, report, forced=True)
    assert commit_report(reports, report, forced=True)
    assert sorted(path.name for path in (reports.archive / "1" / "tiny").iterdir()) == [
        "checkpoint-10",
        "checkpoint-10.2",
    ]


def _contend(root: str, barrier: object, wins: object) -> None:
    barrier.wait()  # type: ignore[attr-defined]
    for step in range(50):
        if commit_report(ReportsFolder(Path(root)), make_report(step, {"a": PASS})):
            wins.put(step)  # type: ignore[attr-defined]


def test_of_many_contenders_exactly_one_wins_each_report(reports: ReportsFolder) -> None:
    """I4."""
    context = multiprocessing.get_context("spawn")
    barrier, wins = context.Barrier(4), context.Queue()
    processes = [context.Process(target=_contend, args=(str(reports.root), barrier, wins)) for _ in range(4)]
    for process in processes:
        process.start()
    won = sorted(wins.get(timeout=120) for _ in range(50))
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * 4
    assert won == list(range(50))
    assert wins.empty()
    assert _names(reports) == sorted(f"checkpoint-{step}" for step in range(50))


def test_predecessors_that_come_later_refresh_their_successors(reports: ReportsFolder) -> None:
    commit_report(reports, make_report(20, {"a": FAIL}))
    refresh_derived_files(reports)
    assert json.loads((reports.checkpoint(20) / "report.json").read_text())["comparison"]["previous_checkpoint"] is None
    commit_report(reports, make_report(10, {"a": PASS}))
    refresh_derived_files(reports)
    comparison = json.loads((reports.checkpoint(20) / "report.json").read_text())["comparison"]
    assert (comparison["previous_checkpoint"], comparison["new_failures"]) == ("checkpoint-10", ["a"])
    assert "Newly broken: a" in (reports.checkpoint(20) / "report.md").read_text()


def test_derived_files_can_be_deleted_and_come_back_the_same(reports: ReportsFolder) -> None:
    for step in (10, 20):
        commit_report(reports, make_report(step, {"a": PASS}))
    refresh_derived_files(reports)
    before = reports.comparison.read_bytes()
    reports.comparison.unlink()
    refresh_derived_files(reports)
    assert reports.comparison.read_bytes() == before


def test_nothing_is_rewritten_that_did_not_change(reports: ReportsFolder) -> None:
    commit_report(reports, make_report(10, {"a": PASS}))
    refresh_derived_files(reports)
    before = (reports.checkpoint(10) / "report.json").stat().st_mtime_ns
    refresh_derived_files(reports)
    assert (reports.checkpoint(10) / "report.json").stat().st_mtime_ns == before


def test_broken_reports_are_left_alone_and_do_not_count(reports: ReportsFolder) -> None:
    commit_report(reports, make_report(10, {"a": PASS}))
    for name, content in (("checkpoint-20", "{"), ("checkpoint-30", "[]")):
        (reports.root / name).mkdir()
        (reports.root / name / "report.json").write_text(content)
    assert [stored.report.step for stored in read_reports(reports)] == [10]
    refresh_derived_files(reports)
    assert (reports.root / "checkpoint-20" / "report.json").read_text() == "{"


@pytest.mark.parametrize("failing", ["fsync", "rename"])
def test_a_full_or_failing_disk_leaves_old_reports_as_they_are(
    reports: ReportsFolder, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    """Faults 12 and 13."""
    commit_report(reports, make_report(10, {"a": PASS}))
    before = {path: path.read_bytes() for path in reports.root.rglob("*.json")}

    def fail(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(*((os, "fsync", fail) if failing == "fsync" else (Path, "rename", fail)))
        for report in (make_report(20, {"a": PASS}), make_report(10, {"a": FAIL}, salt="x")):
            with pytest.raises(OSError, match="No space"):
                commit_report(reports, report)
    assert {path: path.read_bytes() for path in reports.root.rglob("*.json")} == before
    assert _names(reports) in (["checkpoint-10"], ["archive", "checkpoint-10"])
    assert commit_report(reports, make_report(20, {"a": PASS}))


@pytest.mark.parametrize(
    ("text", "name"), [("1.0+a", "1.0+a"), ("../x", "_x"), ("", "unknown"), ("a/b\\c", "a_b_c"), ("x" * 300, "x" * 100)]
)
def test_safe_names(text: str, name: str) -> None:
    assert safe_name(text) == name
