"""The evaluator's commands with everything that goes elsewhere, as a user runs them: real processes, loopback only."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import httpx
import pandas as pd
import pytest
from junitparser import JUnitXml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.fakes.expert import FakeExpert, read_until
from tests.fakes.webhook import webhook_receiver


@pytest.fixture
def expert(tmp_path: Path) -> FakeExpert:
    return FakeExpert.create(tmp_path / "expert")


def _curve(expert: FakeExpert) -> list[tuple[int, float]]:
    (run,) = (expert.reports.root / "tensorboard").iterdir()
    events = EventAccumulator(str(run))
    events.Reload()
    return [(point.step, point.value) for point in events.Scalars("sidestep/success_rate")]


def test_watch_sends_everything_once(expert: FakeExpert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    expert.publish(10, 20)
    with webhook_receiver([]) as (url, accepted):
        arguments = ("--once", "--report-to", "tensorboard", "--webhook", url, "--junit", str(tmp_path / "j.xml"))
        expert.run("watch", *arguments)
        expert.publish(5)  # older than what was sent
        expert.run("watch", *arguments)
        expert.run("watch", *arguments)
    assert sorted(str(body["step"]) for _, body in accepted) == ["10", "20", "5", "None"]
    assert _curve(expert) == [(0, 0.0), (5, 0.0), (10, 0.25), (20, 0.25)]
    assert "| checkpoint-20 | 1 of 4 |" in (tmp_path / "summary.md").read_text().replace("\\", "")
    assert [suite.name for suite in JUnitXml.fromfile(str(tmp_path / "j.xml"))] == []  # the last run ended nothing


def test_a_tracker_that_cannot_be_reached_changes_nothing(expert: FakeExpert, tmp_path: Path) -> None:
    expert.publish(10)
    done = expert.run("watch", "--once", "--webhook", "http://127.0.0.1:9/", code=0)
    assert expert.outcomes() == {"base": "evaluated", "checkpoint-10": "evaluated"}
    assert done.stderr.count("webhook cannot be reached") == 1


def test_the_manifest_may_say_where_and_the_command_line_wins(expert: FakeExpert) -> None:
    manifest = expert.root / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "evaluation": {"report_to": ["tensorboard"]}}))
    expert.publish(10)
    expert.run("watch", "--once", "--report-to", "none")
    assert not (expert.reports.root / "tensorboard").exists()
    expert.run("watch", "--once")
    assert _curve(expert) == [(0, 0.0), (10, 0.25)]


def test_export(expert: FakeExpert, tmp_path: Path) -> None:
    expert.publish(10, 20)
    expert.run("watch", "--once")
    command = expert.command("export", "-o", str(tmp_path / "all.parquet"), "--junit", str(tmp_path / "j.xml"))
    command = [word for word in command if word not in ("--base-model", str(expert.base))]
    subprocess.run([*command, "--checkpoint", "10", "--report-to", "tensorboard"], check=True, env=expert.environment)
    assert len(pd.read_parquet(tmp_path / "all.parquet")) == 12
    assert [suite.name for suite in JUnitXml.fromfile(str(tmp_path / "j.xml"))] == ["fake 0.1.0 checkpoint-10"]
    assert _curve(expert) == [(0, 0.0), (10, 0.25), (20, 0.25)]


def test_metrics_of_a_running_evaluator(expert: FakeExpert) -> None:
    expert.publish(10)
    process = expert.start("watch", "--metrics-port", "0")
    try:
        address = re.search(r"http://\S+", read_until(process, "metrics: "))
        assert address
        read_until(process, "checkpoint-10: 1 of 4 passed")
        health = httpx.get(address[0].replace("/metrics", "/healthz"))
        assert (health.status_code, health.text) == (200, "alive\n")
        assert 'sidestep_outcomes_total{expert="fake",outcome="evaluated"}' in httpx.get(address[0]).text
    finally:
        process.terminate()
        process.communicate(timeout=60)
