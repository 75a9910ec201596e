"""Derived files are up to date at once, or at least when the queue is empty."""

from __future__ import annotations

from pathlib import Path

import pytest

from sidestep.evaluator.reporting import refreshing
from sidestep.evaluator.reporting.commit import commit_report
from sidestep.evaluator.reporting.refreshing import DerivedFiles
from sidestep.evaluator.settings import EngineSettings, EvaluatorSettings
from sidestep.shared.protocol.place import find_place
from tests.fakes.reports import PASS, make_report


@pytest.fixture
def settings(tmp_path: Path) -> EvaluatorSettings:
    (tmp_path / "weights").mkdir()
    return EvaluatorSettings(find_place(tmp_path / "weights"), EngineSettings("base"), tmp_path / "none.json")


class Rebuilding:
    """Counts rebuilds, and lets one take as long as it is told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
        self.now, self.count, self.seconds = 100.0, 0, seconds
        monkeypatch.setattr(refreshing, "refresh_derived_files", self)

    def __call__(self, *args: object, **kwargs: object) -> list[object]:
        self.now += self.seconds
        self.count += 1
        return []


def test_a_queue_spends_a_thirtieth_of_its_time_on_derived_files(
    settings: EvaluatorSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    rebuilding = Rebuilding(monkeypatch, seconds=2.0)
    derived = DerivedFiles(settings, clock=lambda: rebuilding.now)
    for _ in range(300):
        rebuilding.now += 1.0  # an evaluation
        derived.refresh(others_wait=True)
    assert rebuilding.count == 5
    derived.catch_up()
    assert rebuilding.count == 6
    derived.catch_up()
    assert rebuilding.count == 6


def test_the_last_one_is_never_put_off(settings: EvaluatorSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    rebuilding = Rebuilding(monkeypatch, seconds=2.0)
    derived = DerivedFiles(settings, clock=lambda: rebuilding.now)
    assert derived.refresh(others_wait=True) == []
    assert derived.refresh(others_wait=True) is None
    assert derived.refresh() == []


def test_what_a_killed_evaluator_put_off_is_made_up_for(settings: EvaluatorSettings) -> None:
    reports = settings.place.reports
    DerivedFiles(settings).catch_up()
    assert not reports.root.exists()  # nothing there, nothing done
    commit_report(reports, make_report(10, {"a": PASS}))
    DerivedFiles(settings).catch_up()
    assert reports.comparison.is_file()
    before = reports.comparison.stat().st_mtime_ns
    DerivedFiles(settings).catch_up()
    assert reports.comparison.stat().st_mtime_ns == before
