"""The suite as its file holds it now: read again whenever the file has changed."""

from __future__ import annotations

from pathlib import Path

from sidestep.evaluator.cases.case import Suite
from sidestep.evaluator.suite.loading import load_suite
from sidestep.shared.errors import SuiteError
from sidestep.shared.logs import get_logger

log = get_logger("evaluator")


class SuiteFile:
    """One suite's file over time. One that became invalid while running is reported, and the last good suite stays."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._suite: Suite | None = None
        self._content: bytes | None = None  # at the last reading; None before the first

    def read(self) -> Suite | None:
        """The suite, or None without a file. Raises SuiteError when the file is invalid from the start."""
        content = self._path.read_bytes() if self._path.is_file() else b""
        if content == self._content:
            return self._suite
        first, self._content = self._content is None, content
        if not self._path.is_file():
            log.warning("nothing to test: %s does not exist", self._path)
            self._suite = None
            return None
        try:
            self._suite = load_suite(self._path)
        except SuiteError as error:
            if first:
                raise
            log.error("%s; going on with the test cases as they were", error)
            return self._suite
        for warning in self._suite.warnings:
            log.warning("%s: %s", self._path.name, warning)
        return self._suite
