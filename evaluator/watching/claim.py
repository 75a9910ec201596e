"""A claim says "I am working on this". It saves work; what makes commits unique is the rename in the store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from sidestep.shared.errors import ReportsFolderError
from sidestep.shared.protocol.layout import ReportsFolder


@contextmanager
def claim(reports: ReportsFolder, outcome_id: str) -> Iterator[bool]:
    """Hold the lock of one outcome while the block runs; yields False when another evaluator holds it.

    The operating system releases the lock when its holder dies. Raises ReportsFolderError when the reports folder
    cannot be written.
    """
    lock = FileLock(reports.claims / f"{outcome_id}.lock", timeout=0, mode=0o644)
    try:
        reports.claims.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        yield False
        return
    except OSError as error:
        raise ReportsFolderError(
            f"{reports.root} cannot be written: {error.strerror or error}",
            hint="give the evaluator's user write access to the reports folder, or name another with --reports-dir",
        ) from error
    try:
        yield True
    finally:
        lock.release()
