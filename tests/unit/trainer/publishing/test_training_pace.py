"""What is known about a training at a save, and what its pace file says meanwhile."""

from __future__ import annotations

from pathlib import Path

from sidestep.shared.protocol.layout import ModelFolder
from sidestep.shared.protocol.marker import TrainingMetrics
from sidestep.shared.protocol.pace import read_pace
from sidestep.trainer.publishing.training_pace import TrainingPace

HISTORY: list[dict[str, object]] = [{"loss": 3}, {"loss": 2, "learning_rate": 0.1}, {"eval_loss": 9}]


def test_metrics_are_of_the_last_loss_and_the_time_since_the_save_before(tmp_path: Path) -> None:
    now = [100.0]
    pace = TrainingPace(ModelFolder(tmp_path), 4, clock=lambda: now[0])
    now[0] = 104.0
    assert pace.metrics_at_save(6, HISTORY) == TrainingMetrics(2.0, 0.1, seconds_per_step=2.0)
    now[0] = 105.0
    assert pace.metrics_at_save(6, []) == TrainingMetrics()  # the same step again: nobody knows how long a step takes
    now[0] = 106.0
    assert pace.metrics_at_save(8, [{"loss": "nan"}]) == TrainingMetrics(seconds_per_step=0.5)


def test_nothing_is_written_before_the_start(tmp_path: Path) -> None:
    folder = ModelFolder(tmp_path)
    pace = TrainingPace(folder, 0)
    assert read_pace(folder.pace) is None
    pace.start()
    pace.note_step(1, 10)
    pace.close()
    left = read_pace(folder.pace)
    assert left is not None
    assert (left.step, left.max_steps, left.training) == (1, 10, False)
