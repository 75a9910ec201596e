"""The reports folder on disk: reading what is there, committing a report exactly once, recomputing the views.

A commit stages both files in a folder of its own, makes them durable, and renames the folder to its final name. A
rename onto a folder that is not empty fails, so of several contenders exactly one wins. Reports that have to make
room (an earlier run, an earlier version, a forced rerun) are moved to the archive first and never overwritten.
"""

from __future__ import annotations

import errno
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from evaluator.reporting.comparison import with_comparisons
from evaluator.reporting.history import history_document
from evaluator.reporting.markdown import report_markdown
from evaluator.reporting.report import InvalidReport, OutcomeRecord, Report, outcome_of, parse_outcome, parse_report
from evaluator.results import Identity
from shared.durable import fsync_folder, read_bounded, replace_file, to_json, write_file
from shared.layout import (
    BASE_REPORT_NAME,
    MAX_MARKER_BYTES,
    OUTCOME_NAME,
    REPORT_MARKDOWN_NAME,
    REPORT_NAME,
    ReportsFolder,
    checkpoint_step,
)
from shared.logs import get_logger

log = get_logger("evaluator.store")

MAX_REPORT_BYTES = 1 << 30
STAGING_PREFIX = ".staging-"
LOCK_SECONDS = 60.0


@dataclass(frozen=True)
class StoredReport:
    """A report and the folder it lies in; ``archived`` when a later one has taken its place."""

    folder: Path
    report: Report
    archived: bool


def list_outcomes(reports: ReportsFolder) -> list[OutcomeRecord]:
    """Every committed outcome, current and archived, from the small outcome files."""
    found = []
    for folder in (*_current_folders(reports), *_archived_folders(reports)):
        try:
            record = parse_outcome(read_bounded(folder / OUTCOME_NAME, MAX_MARKER_BYTES))
        except OSError:
            continue
        if record:
            found.append(record)
    return found


def read_reports(reports: ReportsFolder) -> list[StoredReport]:
    """Every report that can be read; one that cannot is named in the log and left alone."""
    stored = []
    for folders, archived in ((_current_folders(reports), False), (_archived_folders(reports), True)):
        for folder in folders:
            try:
                report = parse_report(read_bounded(folder / REPORT_NAME, MAX_REPORT_BYTES))
            except FileNotFoundError:
                continue
            except (OSError, InvalidReport) as error:
                log.warning("%s cannot be read: %s", folder / REPORT_NAME, error)
                continue
            stored.append(StoredReport(folder, report, archived))
    return stored


def commit(reports: ReportsFolder, report: Report, *, forced: bool = False) -> bool:
    """Put a report in its place; False when another evaluator was first with the same identity.

    The report's comparisons are computed here, from what is in the folder. Raises OSError when the folder cannot be
    written; what was there before is then still there, in its place or in the archive.
    """
    identity = report.identity.identity
    final = reports.base if report.step is None else reports.checkpoint(report.step)
    reports.root.mkdir(parents=True, exist_ok=True)
    others = [
        stored.report for stored in read_reports(reports) if not stored.archived or _is_other_version(stored, report)
    ]
    report = with_comparisons(report, others)
    staging = reports.root / f"{STAGING_PREFIX}{uuid.uuid4().hex}"
    staging.mkdir()
    try:
        write_file(staging / REPORT_NAME, report.to_bytes())
        write_file(staging / REPORT_MARKDOWN_NAME, _encoded(report_markdown(report)))
        write_file(staging / OUTCOME_NAME, outcome_of(report).to_bytes())
        fsync_folder(staging)
        return _move_in(reports, staging, final, identity, forced)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _is_other_version(stored: StoredReport, report: Report) -> bool:
    return stored.report.expert_version != report.expert_version


def _move_in(reports: ReportsFolder, staging: Path, final: Path, identity: Identity, forced: bool) -> bool:
    """Rename into place. The lock keeps two contenders from archiving each other's winner; the rename is the fence."""
    with FileLock(reports.root / ".commit.lock", timeout=LOCK_SECONDS, mode=0o644):
        if not forced and any(record.identity.identity == identity for record in list_outcomes(reports)):
            return False
        if final.exists():
            _archive(reports, final, _outcome_in(final))
        try:
            staging.rename(final)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                return False
            raise
        fsync_folder(reports.root)
        return True


def _archive(reports: ReportsFolder, folder: Path, record: OutcomeRecord | None) -> None:
    """Move a report out of the way, to a free name; without effect when somebody else has just done it."""
    version = record.expert_version if record else "unknown"
    model = record.identity.model_folder if record else "unknown"
    target = reports.archive / safe_name(version) / safe_name(model)
    target.mkdir(parents=True, exist_ok=True)
    for name in _free_names(folder.name):
        try:
            folder.rename(target / name)
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            continue
        fsync_folder(target)
        return


def _free_names(name: str) -> Iterator[str]:
    yield name
    number = 1
    while True:
        number += 1
        yield f"{name}.{number}"


def safe_name(text: str) -> str:
    """A folder name from a manifest's text: no separators, no leading dot, at most 100 characters."""
    name = re.sub(r"[^A-Za-z0-9._+-]", "_", text)[:100].lstrip(".")
    return name or "unknown"


def rebuild_views(reports: ReportsFolder) -> list[StoredReport]:
    """Bring everything that follows from the reports up to date, under a lock; returns the reports as they are then.

    Newest first means that a predecessor may land after its successor: the successor's comparisons are then refreshed
    in place, atomically. Deleting comparison.json loses nothing.
    """
    with FileLock(reports.root / ".views.lock", mode=0o644):
        stored = read_reports(reports)
        fresh = [_refreshed(each, stored) for each in stored]
        current = [each.report for each in fresh if not each.archived]
        archived = [each.report for each in fresh if each.archived]
        replace_file(reports.comparison, to_json(history_document(current, archived)))
        return fresh


def _refreshed(stored: StoredReport, everything: list[StoredReport]) -> StoredReport:
    if stored.archived:
        return stored
    others = [
        each.report
        for each in everything
        if each is not stored and (not each.archived or _is_other_version(each, stored.report))
    ]
    fresh = with_comparisons(stored.report, others)
    if fresh != stored.report:
        replace_file(stored.folder / REPORT_NAME, fresh.to_bytes())
        replace_file(stored.folder / REPORT_MARKDOWN_NAME, _encoded(report_markdown(fresh)))
    return StoredReport(stored.folder, fresh, False)


def sweep_staging(reports: ReportsFolder, is_running: Callable[[], bool]) -> None:
    """Remove what killed evaluators left half staged, unless another evaluator is running here."""
    if is_running():
        return
    for path in _entries(reports.root):
        if path.name.startswith(STAGING_PREFIX):
            shutil.rmtree(path, ignore_errors=True)


def _outcome_in(folder: Path) -> OutcomeRecord | None:
    try:
        return parse_outcome(read_bounded(folder / OUTCOME_NAME, MAX_MARKER_BYTES))
    except OSError:
        return None


def _current_folders(reports: ReportsFolder) -> list[Path]:
    return [
        path
        for path in _entries(reports.root)
        if path.name == BASE_REPORT_NAME or checkpoint_step(path.name) is not None
    ]


def _archived_folders(reports: ReportsFolder) -> list[Path]:
    return sorted(reports.archive.glob("*/*/*"))


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "replace")
