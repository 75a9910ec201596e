"""What is going on, at the foot of a terminal: training, evaluation, what waits. Log lines pass above it.

Everything shown is read from the files that training and evaluator leave for each other (pace and presence),
so the same display serves ``watch``, which evaluates itself, and ``up``, which only starts others.
Where standard error is not a terminal, nothing of this happens and log lines are all there is.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from sidestep.shared.logs import terminal_safe
from sidestep.shared.protocol.pace import Pace, read_pace
from sidestep.shared.protocol.place import Place
from sidestep.shared.protocol.presence import Presence, evaluators_present

REFRESH_SECONDS = 0.5
RECENT_STEPS = 20
TITLE_WIDTH = 9
BAR_WIDTH = 20


@dataclass(frozen=True)
class Row:
    """One line of the display. ``done`` and ``of`` make a bar where both are known."""

    title: str
    text: str
    done: int | None = None
    of: int | None = None


def rows(place: Place, now: float, monotonic: float) -> list[Row]:
    """The display's lines as things are now. ``now`` is wall clock, ``monotonic`` the clock of shared.protocol.pace."""
    found = training_rows(place, monotonic)
    found += [evaluator_row(presence, now) for presence in evaluators_present(place.reports)]
    return found or [Row("waiting", "for a training or an evaluator to begin")]


def training_rows(place: Place, monotonic: float) -> list[Row]:
    """A line for each training that goes on here now."""
    paces = [pace for model in place.model_folders() if (pace := read_pace(model.pace))]
    return [_training_row(pace) for pace in paces if pace.is_running(monotonic)]


def _training_row(pace: Pace) -> Row:
    recent = [end - begin for begin, end in pace.steps[-RECENT_STEPS:]]
    speed = f"{sum(recent) / len(recent):.2f} s a step" if recent else "no step yet"
    if pace.step is None:
        return Row("training", speed)
    of = f" of {pace.max_steps}" if pace.max_steps and pace.max_steps > 0 else ""
    return Row("training", f"step {pace.step}{of} · {speed}", pace.step, pace.max_steps if of else None)


def evaluator_row(presence: Presence, now: float) -> Row:
    """What one evaluator does."""
    pending = f" · {presence.pending} pending" if presence.pending else ""
    if presence.state != "evaluating" or presence.checkpoint is None:
        return Row("evaluator", f"{presence.state}{pending}")
    speed = presence.cases_per_second(now)
    parts = [f"{presence.checkpoint}: {presence.cases_done} of {presence.cases} cases"]
    if presence.decided:
        parts.append(f"{presence.passed} passed ({presence.passed / presence.decided:.0%})")
    if speed:
        parts.append(f"{speed:.1f} cases/s" if speed >= 1 else f"{1 / speed:.1f} s a case")
    return Row("evaluator", " · ".join(parts) + pending, presence.cases_done, presence.cases)


def picture(lines: Sequence[Row]) -> RenderableType:
    """The lines as rich draws them, one terminal line each however narrow it is."""
    table = Table.grid(padding=(0, 1), expand=True)
    for width in (TITLE_WIDTH, BAR_WIDTH):
        table.add_column(min_width=width, max_width=width, no_wrap=True)
    table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    for row in lines:
        bar = ProgressBar(row.of, row.done, width=BAR_WIDTH) if row.of and row.done is not None else ""
        table.add_row(Text(row.title, "bold"), bar, Text(terminal_safe(row.text)))
    return Group(Text("─" * 12, "dim"), table)


def is_wanted(*, json_lines: bool) -> bool:
    """Whether somebody sits before a terminal that can redraw lines."""
    return not json_lines and sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"


@contextmanager
def show_live_display(place: Place, *, wanted: bool, outputs: Sequence[IO[bytes]] = ()) -> Iterator[None]:
    """Show what is going on while the body runs, when ``wanted``. ``outputs`` are files whose lines pass above it."""
    if not wanted:
        yield
        return
    console = Console(stderr=True)
    live = Live(console=console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=True)
    tails = [Tail(file) for file in outputs]

    def redraw() -> None:
        for line in [line for tail in tails for line in tail.read_lines()]:
            console.print(Text(line), soft_wrap=True)
        with suppress(OSError):  # a folder that comes or goes meanwhile: half a second later it is drawn again
            live.update(picture(rows(place, time.time(), time.monotonic())), refresh=True)

    with live, _log_through(live):
        ticker = _Ticker(redraw)
        ticker.start()
        try:
            yield
        finally:
            ticker.stop()
            redraw()
            for line in [tail.take_rest() for tail in tails]:
                if line:
                    console.print(Text(line), soft_wrap=True)


class Tail:
    """The lines that others append to a file, as they come, made harmless. A line that is redrawn counts once."""

    def __init__(self, file: IO[bytes]) -> None:
        self._descriptor = file.fileno()
        self._offset = 0
        self._partial = b""

    def read_lines(self) -> list[str]:
        """Complete lines since the last call."""
        while chunk := os.pread(self._descriptor, 1 << 16, self._offset):
            self._offset += len(chunk)
            self._partial += chunk
        *complete, self._partial = self._partial.split(b"\n")
        return [_last_state(line) for line in complete]

    def take_rest(self) -> str:
        """What comes after the last line's end."""
        line, self._partial = _last_state(self._partial), b""
        return line


def _last_state(line: bytes) -> str:
    """What a terminal would show in the end of a line with carriage returns (progress bars)."""
    return terminal_safe(line.decode("utf-8", "replace").rstrip("\r").rpartition("\r")[2])


class _Ticker:
    """Calls a function a few times a second on a thread of its own."""

    def __init__(self, tick: Callable[[], None]) -> None:
        self._tick = tick
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="live-display", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(REFRESH_SECONDS):
            self._tick()


@contextmanager
def _log_through(live: Live) -> Iterator[None]:
    """Log lines go above the display: to the stream that rich has put in standard error's place."""
    handlers = [
        handler for handler in logging.getLogger("sidestep").handlers if isinstance(handler, logging.StreamHandler)
    ]
    before = [handler.setStream(sys.stderr) for handler in handlers]
    try:
        yield
    finally:
        for handler, stream in zip(handlers, before, strict=True):
            if stream is not None:
                handler.setStream(stream)
