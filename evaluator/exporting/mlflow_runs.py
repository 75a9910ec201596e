"""MLflow: one run per training in an experiment named after the expert. ``MLFLOW_TRACKING_URI`` says where.

Without it, everything goes to ``training_reports/mlflow.db``. A metric's time is that of its report, so that sending
the same value twice leaves one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from mlflow.entities import Metric, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from sidestep.evaluator.exporting.points import Point, Run, broken_markdown
from sidestep.shared.protocol.layout import ReportsFolder

TAG = "sidestep.run"


class MlflowRuns:
    """``artifacts`` is where a new experiment keeps files; None leaves that to the server."""

    def __init__(self, client: MlflowClient, artifacts: Path | None) -> None:
        self._client = client
        self._artifacts = artifacts
        self._runs: dict[str, str] = {}

    def send(self, run: Run, points: Sequence[Point], tracker_id: str) -> None:
        run_id = self._run(run, tracker_id)
        there = {name: self._values(run_id, name) for name in {name for point in points for name in point.metrics}}
        for point in points:
            metrics = []
            for name, value in point.metrics.items():
                if value in there[name].get(point.step, ()):
                    continue
                later = point.step in there[name]  # a later word on the same step: MLflow takes the latest
                moment = time.time() if later else point.timestamp or time.time()
                metrics.append(Metric(name, value, int(1000 * moment), point.step))
            self._client.log_batch(run_id, metrics=metrics)
            if point.broken:
                self._client.log_text(run_id, broken_markdown(point), f"newly_broken/{point.report.checkpoint}.md")

    def close(self) -> None:
        for run_id in self._runs.values():
            self._client.set_terminated(run_id)

    def _values(self, run_id: str, metric: str) -> dict[int, set[float]]:
        """What the run has of a metric, by step."""
        found: dict[int, set[float]] = {}
        for logged in self._client.get_metric_history(run_id, metric):
            found.setdefault(logged.step, set()).add(logged.value)
        return found

    def _run(self, run: Run, tracker_id: str) -> str:
        if tracker_id not in self._runs:
            experiment = self._experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME") or run.expert)
            found = self._client.search_runs([experiment], filter_string=f"tags.`{TAG}` = '{tracker_id}'")
            if found:
                self._client.update_run(found[0].info.run_id, status="RUNNING")
                self._runs[tracker_id] = found[0].info.run_id
            else:
                created = self._client.create_run(experiment, run_name=run.name, tags={TAG: tracker_id})
                tags = [RunTag(f"sidestep.{name}", value) for name, value in run.config.items()]
                self._client.log_batch(created.info.run_id, tags=tags)
                self._runs[tracker_id] = created.info.run_id
        return self._runs[tracker_id]

    def _experiment(self, name: str) -> str:
        known = self._client.get_experiment_by_name(name)
        if known:
            return str(known.experiment_id)
        try:
            location = self._artifacts.as_uri() if self._artifacts else None
            return str(self._client.create_experiment(name, artifact_location=location))
        except MlflowException:
            created = self._client.get_experiment_by_name(name)  # somebody else was first
            if created is None:
                raise
            return str(created.experiment_id)


def create(reports: ReportsFolder) -> MlflowRuns:
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    if uri:
        return MlflowRuns(MlflowClient(uri), None)
    root = reports.root.resolve()
    return MlflowRuns(MlflowClient(f"sqlite:///{root / 'mlflow.db'}"), root / "mlflow")
