"""The suite as its file holds it now: read again whenever the file has changed.

Without test cases that can be decided nothing is evaluated, and nothing ends: that is the configuration's fault, and no
checkpoint's.
"""

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
        self.problem: str | None = None
        """Why nothing can be evaluated by this file as it is now."""
        self.is_missing = False

    def read(self) -> Suite | None:
        """The suite, or None when there is nothing to test by, as ``problem`` says.

        Raises SuiteError when the file is invalid from the start.
        """
        content = self._path.read_bytes() if self._path.is_file() else b""
        if content == self._content:
            return self._suite
        first, self._content = self._content is None, content
        self.is_missing = not self._path.is_file()
        if self.is_missing:
            self._go_without(f"{self._path} does not exist")
            return None
        try:
            suite = load_suite(self._path)
        except SuiteError as error:
            if first:
                raise
            log.error("%s; going on with the test cases as they were", error)
            return self._suite
        for warning in suite.warnings:
            log.warning("%s: %s", self._path.name, warning)
        if problem := why_undecidable(suite):
            self._go_without(f"{self._path} {problem}")
            return None
        self._suite, self.problem = suite, None
        return suite

    def _go_without(self, problem: str) -> None:
        log.warning("nothing to test: %s", problem)
        self._suite, self.problem = None, problem


def why_undecidable(suite: Suite) -> str | None:
    """Why no answer to this suite could be decided, or None when one could. Pure."""
    if not suite.cases:
        return "has no test cases"
    if not any(case.checks for case in suite.cases):
        return "has no test case that can be checked: give them expected_keywords or checks (docs/test-cases.md)"
    return None
