"""TensorBoard: event files written with TensorBoard's own writer, ``training_reports/tensorboard/<run>/``.

TensorBoard takes a step that is lower than the last one for a restarted training: its readers then drop or split what
came later. Checkpoints are evaluated newest first, so an older one goes in the way a restart does: a session start at
its step, which takes back everything from there on, and then everything from there on again, in order.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.plugins.text.metadata import create_summary_metadata
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from sidestep.evaluator.exporting.points import PREFIX, Point, Run, broken_markdown
from sidestep.shared.protocol.layout import ReportsFolder

FOLDER_VARIABLE = "TENSORBOARD_LOGGING_DIR"  # the Trainer's


class TensorBoardEvents:
    def __init__(self, root: Path) -> None:
        self._root = root
        self._writers: dict[str, EventFileWriter] = {}

    def send(self, run: Run, points: Sequence[Point], tracker_id: str) -> None:
        writer = self._writer(run, tracker_id)
        first = min(point.step for point in points)
        restart = SessionLog(status=SessionLog.START)
        writer.add_event(Event(wall_time=time.time(), step=first, session_log=restart))
        for point in run.points:
            if point.step >= first:
                writer.add_event(_event(point))
        for point in points:  # text is not taken back by a session start, so it is written once
            if point.broken:
                writer.add_event(_table(point))
        writer.flush()

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()

    def _writer(self, run: Run, tracker_id: str) -> EventFileWriter:
        if tracker_id not in self._writers:
            folder = re.sub(r"[^A-Za-z0-9._-]", "-", run.name)[:80].lstrip(".") or "run"
            self._writers[tracker_id] = EventFileWriter(str(self._root / f"{folder}-{tracker_id[:4]}"))
        return self._writers[tracker_id]


def _event(point: Point) -> Event:
    values = [Summary.Value(tag=name, simple_value=value) for name, value in point.metrics.items()]
    return Event(wall_time=point.timestamp or time.time(), step=point.step, summary=Summary(value=values))


def _table(point: Point) -> Event:
    tensor = TensorProto(
        dtype="DT_STRING",
        string_val=[broken_markdown(point).encode("utf-8", "replace")],
        tensor_shape=TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)]),
    )
    metadata = create_summary_metadata(display_name="", description="")
    value = Summary.Value(tag=f"{PREFIX}newly_broken_cases", metadata=metadata, tensor=tensor)
    return Event(wall_time=point.timestamp or time.time(), step=point.step, summary=Summary(value=[value]))


def create(reports: ReportsFolder) -> TensorBoardEvents:
    return TensorBoardEvents(Path(os.environ.get(FOLDER_VARIABLE) or reports.root / "tensorboard"))
