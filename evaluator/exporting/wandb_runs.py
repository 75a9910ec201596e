"""Weights & Biases: one run per training, curves over ``sidestep/step``. The environment configures it as usual.

W&B's own step only ever rises, and checkpoints come out of order: hence a step of our own as the x axis of all curves.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from typing import Any

import wandb

from sidestep.evaluator.exporting.points import PREFIX, SHOWN_OUTPUT, Point, Run
from sidestep.shared.protocol.layout import ReportsFolder

STEP = f"{PREFIX}step"


class WandbRuns:
    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._runs: dict[str, Any] = {}

    def send(self, run: Run, points: Sequence[Point], tracker_id: str) -> None:
        tracked = self._run(run, tracker_id)
        for point in points:
            values: dict[str, Any] = {**point.metrics, STEP: point.step}
            if point.broken:
                values[f"{PREFIX}newly_broken_cases"] = wandb.Table(
                    columns=["case", "category", "answer now"],
                    data=[[case.id, case.category, case.output[:SHOWN_OUTPUT]] for case in point.broken],
                )
            tracked.log(values)

    def close(self) -> None:
        for tracked in self._runs.values():
            tracked.finish()

    def _run(self, run: Run, tracker_id: str) -> Any:
        if tracker_id not in self._runs:
            tracked = wandb.init(
                project=os.environ.get("WANDB_PROJECT") or run.expert,
                id=tracker_id,
                name=run.name,
                group=run.group,
                resume="allow",
                dir=self._folder,
                config=dict(run.config),
                reinit="create_new",
                settings=wandb.Settings(
                    console="off",
                    silent=True,
                    disable_git=True,
                    x_disable_stats=True,
                    # Two folders of one run and one second would otherwise be one, and its rows lost.
                    x_sync_dir_suffix=uuid.uuid4().hex[:6],
                ),
            )
            tracked.define_metric(STEP)
            tracked.define_metric(f"{PREFIX}*", step_metric=STEP)
            self._runs[tracker_id] = tracked
        return self._runs[tracker_id]


def create(reports: ReportsFolder) -> WandbRuns:
    return WandbRuns(os.environ.get("WANDB_DIR") or str(reports.root))
