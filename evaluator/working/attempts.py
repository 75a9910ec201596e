"""What is kept of an evaluation until it is committed: finished cases, and how often it failed.

    training_reports/.attempts/<outcome id>/
      cases-<uuid>.jsonl     one finished case a line, appended as they come
      failure-<uuid>.json    one file for each failed attempt

A restart reads the finished cases and goes on with the others. Each evaluator appends to a file of its own, so a
line torn by a crash costs that line and nothing else.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from sidestep.evaluator.cases.result import CaseResult
from sidestep.shared.files import replace_file, to_json, to_json_line
from sidestep.shared.protocol.identity import Identity
from sidestep.shared.protocol.layout import ReportsFolder

MAX_ATTEMPTS = 3

_case_results: TypeAdapter[CaseResult] = TypeAdapter(CaseResult)


class Attempt:
    """One evaluator's attempt at one outcome, with what earlier attempts have finished."""

    def __init__(self, folder: Path, descriptor: int, finished: dict[str, CaseResult]) -> None:
        """``descriptor`` is open for appending finished cases."""
        self._folder = folder
        self._descriptor = descriptor
        self.finished = finished

    def add(self, result: CaseResult) -> None:
        """Keep one finished case; the first result of a case counts. Raises OSError when the disk is full."""
        self.finished.setdefault(result.id, result)
        line = memoryview(to_json_line(_case_results.dump_python(result)))
        while line:
            line = line[os.write(self._descriptor, line) :]

    def record_failure(self, reason: str) -> int:
        """Count a failed attempt durably; returns how many there are now."""
        replace_file(self._folder / f"failure-{uuid.uuid4().hex}.json", to_json({"reason": reason}))
        return self.failures

    def forget_cases(self) -> None:
        """Forget the finished cases: they are not results."""
        for path in self._folder.glob("cases-*.jsonl"):
            path.unlink(missing_ok=True)

    def forgive(self) -> None:
        """Forget the failed attempts: they were not the checkpoint's fault."""
        for path in self._folder.glob("failure-*.json"):
            path.unlink(missing_ok=True)

    @property
    def failures(self) -> int:
        return sum(1 for _ in self._folder.glob("failure-*.json"))

    def forget(self) -> None:
        """Delete everything: the outcome is committed."""
        shutil.rmtree(self._folder, ignore_errors=True)
        with suppress(OSError):
            self._folder.parent.rmdir()  # succeeds only when it is empty


@contextmanager
def open_attempt(reports: ReportsFolder, identity: Identity, *, fresh: bool = False) -> Iterator[Attempt]:
    """Begin or go on with an attempt; its file is open while the block runs.

    ``fresh`` forgets what earlier attempts finished (a forced rerun). Raises OSError when the folder cannot be written.
    """
    folder = reports.attempts / identity.id
    if fresh:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    finished = _read_results(folder)
    descriptor = os.open(folder / f"cases-{uuid.uuid4().hex}.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        yield Attempt(folder, descriptor, finished)
    finally:
        os.close(descriptor)


def count_finished_cases(reports: ReportsFolder, identity: Identity) -> int:
    """How many cases of an evaluation in progress are finished."""
    return len(_read_results(reports.attempts / identity.id))


def _read_results(folder: Path) -> dict[str, CaseResult]:
    results: dict[str, CaseResult] = {}
    for path in sorted(folder.glob("cases-*.jsonl")):
        for line in path.read_bytes().splitlines():
            with suppress(ValidationError):  # torn by a crash
                result = _case_results.validate_json(line)
                results.setdefault(result.id, result)
    return results
