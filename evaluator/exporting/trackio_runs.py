"""trackio: one run per training, in a project named after the expert; ``trackio show`` shows it.

trackio has one current run per process, so a run is resumed for each sending and finished after it, which flushes it.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Sequence
from typing import Any

import trackio

from sidestep.evaluator.exporting.points import PREFIX, Point, Run, broken_markdown
from sidestep.shared.protocol.layout import ReportsFolder


class TrackioRuns:
    def send(self, run: Run, points: Sequence[Point], tracker_id: str) -> None:
        project = re.sub(r"[^A-Za-z0-9_-]", "-", os.environ.get("TRACKIO_PROJECT") or run.expert) or "sidestep"
        with contextlib.redirect_stdout(io.StringIO()):  # it greets on standard output
            tracked = trackio.init(
                project=project,
                name=f"{run.name} {tracker_id[:4]}",
                group=run.group,
                config=dict(run.config),
                resume="allow",
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )
            try:
                for point in points:
                    values: dict[str, Any] = dict(point.metrics)
                    if point.broken:
                        values[f"{PREFIX}newly_broken_cases"] = trackio.Markdown(broken_markdown(point))
                    tracked.log(values, step=point.step)
            finally:
                trackio.finish()

    def close(self) -> None:
        """Nothing is open between two sendings."""


def create(reports: ReportsFolder) -> TrackioRuns:
    return TrackioRuns()
