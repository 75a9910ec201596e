"""The supervisor's end of the exporting process: start it, tell it that there is a report, let it finish.

Whatever happens to that process, evaluation goes on; what was not sent is sent at the next start.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType

import orjson

from sidestep.evaluator.results.report import Report
from sidestep.shared.logs import get_logger
from sidestep.shared.protocol.layout import ReportsFolder
from sidestep.shared.protocol.presence import Presence

FINISH_SECONDS = 60.0
MAX_STARTS = 3

log = get_logger("evaluator.export")


@dataclass(frozen=True)
class ExportSettings:
    """Where results go besides the reports folder."""

    destinations: tuple[str, ...] = ()
    webhook: str | None = None
    log_json: bool = False

    @property
    def wanted(self) -> bool:
        return bool(self.destinations or self.webhook)


class Exporter:
    """Does nothing at all when nothing is wanted."""

    def __init__(
        self, reports: ReportsFolder, settings: ExportSettings, *, finish_seconds: float = FINISH_SECONDS
    ) -> None:
        self._reports = reports
        self._settings = settings
        self._finish_seconds = finish_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._starts = 0

    def __enter__(self) -> Exporter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._settings.wanted and self._starts == 0 and error is None:
            self.notify()  # no report has come, but one may be left from an earlier time
        self.close()

    def on_report(self, report: Report, waiting: Sequence[int]) -> None:
        self.notify(waiting)

    def on_state(self, presence: Presence) -> None:
        """Only reports are exported."""

    def notify(self, waiting: Sequence[int] = ()) -> None:
        """There is a report; ``waiting`` are the steps that have no outcome yet. Never blocks, never raises."""
        if not self._settings.wanted or not self._ensure_running():
            return
        assert self._process is not None and self._process.stdin is not None
        try:
            self._process.stdin.write(orjson.dumps(sorted(waiting)) + b"\n")
            self._process.stdin.flush()
        except OSError:
            self._warn()

    def close(self) -> None:
        """Let the last round finish, within limits."""
        if self._process is None:
            return
        try:
            self._process.communicate(timeout=self._finish_seconds)
        except subprocess.TimeoutExpired:
            log.warning("exports are not finished after %.0f s; the rest follows next time", self._finish_seconds)
            self._process.kill()
            self._process.wait()
        self._process = None

    def _ensure_running(self) -> bool:
        """Whether the process runs, started now where it does not."""
        if self._process is not None and self._process.poll() is None:
            return True
        if self._process is not None:
            self._warn()
        if self._starts >= MAX_STARTS:
            return False
        self._starts += 1
        command = [sys.executable, "-m", "sidestep.evaluator.exporting.process", str(self._reports.root)]
        command += ["--to", ",".join(self._settings.destinations) or "none"]
        command += ["--webhook", self._settings.webhook] if self._settings.webhook else []
        command += ["--log-json"] if self._settings.log_json else []
        try:
            # A session of its own: Ctrl-C is for the evaluator, which lets the last round finish.
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
        except OSError as error:
            log.warning("results cannot be exported: %s", error)
            return False
        return True

    def _warn(self) -> None:
        assert self._process is not None
        code = self._process.poll()
        if code is not None and self._starts <= MAX_STARTS:
            how = signal.Signals(-code).name if code < 0 else f"exit status {code}"
            again = "starting it again" if self._starts < MAX_STARTS else "the rest follows at the next start"
            log.warning("the exporting process ended (%s); %s", how, again)
            if self._starts >= MAX_STARTS:
                self._starts = MAX_STARTS + 1
