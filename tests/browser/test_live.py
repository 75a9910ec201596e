"""The served page: it is the same page, and reports that are committed appear without a reload."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidestep.shared.protocol.layout import ReportsFolder
from sidestep.shared.protocol.presence import PresenceFile
from tests.browser.page import Page
from tests.browser.reports import F, P, make_report, put

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    reports = ReportsFolder(tmp_path / "weights" / "training_reports")
    put(reports, make_report(10, {"a-1": P, "b-1": F}))
    return tmp_path / "weights"


@pytest.fixture
def served(weights: Path) -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "sidestep.evaluator", "serve", str(weights), "--port", "0"], cwd=REPOSITORY,
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout
    yield next(word for word in process.stdout.readline().split() if word.startswith("http://"))
    process.terminate()
    assert process.wait(20) is not None


def test_reports_appear_as_they_are_committed(page: Page, served: str, weights: Path) -> None:
    page.open(served)
    assert len(page.all(".checkpoints tbody tr")) == 1
    reports = ReportsFolder(weights / "training_reports")
    PresenceFile(reports).update(state="evaluating", checkpoint="checkpoint-20", cases=2, cases_done=1, pending=1)
    page.wait(lambda: "checkpoint-20: 1 of 2 cases, 1 pending" in page.one("#evaluators").text)
    put(reports, make_report(20, {"a-1": F, "b-1": P}, at=1))
    page.wait(lambda: len(page.all(".checkpoints tbody tr")) == 2)
    page.click(".card .case-links a")
    page.wait(lambda: len(page.all(".answer .output")) == 2)
    assert {url.split("/")[2] for url in page.requests() if url.startswith("http")} == {served.split("/")[2]}
    assert page.complaints() == []
