from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from sidestep.evaluator.exporting.points import Point, Run
from sidestep.evaluator.exporting.sending import Sender
from sidestep.evaluator.reporting.commit import commit_report
from sidestep.evaluator.reporting.derived_files import refresh_derived_files
from sidestep.evaluator.results.report import TrainingEntry
from sidestep.shared.protocol.layout import ReportsFolder
from tests.fakes.reports import FAIL, PASS, make_report

# What each step passes of two cases; the base model passes nothing.
ANSWERS = {None: (FAIL, FAIL), 10: (PASS, FAIL), 20: (PASS, PASS), 30: (FAIL, PASS)}
RATES = {0: 0.0, 10: 0.5, 20: 1.0, 30: 0.5}
BROKEN = {20: 0.0, 30: 1.0}
NEWEST_FIRST = (30, 10, 20, None)


@pytest.fixture
def reports(tmp_path: Path) -> ReportsFolder:
    folder = ReportsFolder(tmp_path / "reports")
    folder.root.mkdir()
    return folder


def commit(reports: ReportsFolder, step: int | None, *, hostile: bool = False, second: int = 0) -> None:
    """Commit the report of one checkpoint, as the supervisor does."""
    first, other = ANSWERS[step]
    training = TrainingEntry(run_id="abcdef0123456789", loss=1.0 / (step or 1)) if step else TrainingEntry()
    report = make_report(
        step, {"a": first, "b": other}, training=training, finished_at=f"2026-01-01T00:{second:02}:{step or 0:02}+00:00"
    )
    if hostile:
        cases = tuple(replace(case, output="<script>|\x1b[31m\ud800", category="x/y:é|") for case in report.test_cases)
        report = replace(report, test_cases=cases)
    assert commit_report(reports, report, forced=second > 0)
    refresh_derived_files(reports)


def commit_newest_first(reports: ReportsFolder, destination: str) -> None:
    """Every checkpoint out of order, a round after each, and a process of its own for every second one."""
    sender = Sender(reports, [destination], first_pause=0)
    waiting = [step for step in NEWEST_FIRST if step is not None]
    for number, step in enumerate(NEWEST_FIRST):
        commit(reports, step)
        waiting = [other for other in waiting if other != step]
        assert sender.send(waiting)
        if number % 2:
            sender.close()
            sender = Sender(reports, [destination], first_pause=0)
    assert sender.send()
    sender.close()


class FakeDestination:
    """Keeps what it is sent; refuses the first ``failures`` times."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.calls = 0
        self.sent: list[tuple[int, dict[str, float]]] = []

    def send(self, run: Run, points: Sequence[Point], tracker_id: str) -> None:
        self.calls += 1
        if self.failures:
            self.failures -= 1
            raise ConnectionError("no route\nto host")
        self.sent += [(point.step, dict(point.metrics)) for point in points]

    def close(self) -> None:
        pass


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """No tracker finds another machine, nor the user's own files."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "WANDB_PROJECT", "WANDB_DIR", "TRACKIO_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("TENSORBOARD_LOGGING_DIR", raising=False)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "wandb-cache"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "wandb-config"))
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "wandb-data"))
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    yield tmp_path
