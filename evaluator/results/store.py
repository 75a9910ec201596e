"""The reports folder on disk: reading what is there, and putting a report in its place exactly once.

A commit stages both files in a folder of its own, makes them durable, and renames the folder to its final name. A
rename onto a folder that is not empty fails, so of several contenders exactly one wins. Reports that have to make
room (an earlier run, an earlier version, a forced rerun) are moved to the archive first and never overwritten.
"""

from __future__ import annotations

import errno
import re
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from sidestep.evaluator.results import files
from sidestep.evaluator.results.report import InvalidReport, Report, outcome_of
from sidestep.shared.files import fsync_folder
from sidestep.shared.logs import get_logger
from sidestep.shared.protocol.layout import (
    BASE_REPORT_NAME,
    ReportsFolder,
    checkpoint_step,
)
from sidestep.shared.protocol.outcomes import OutcomeRecord, read_outcome

log = get_logger("evaluator.store")

UNKNOWN_VERSIONS = ("", "unknown")
STAGING_PREFIX = ".staging-"
LOCK_SECONDS = 60.0


@dataclass(frozen=True)
class StoredReport:
    """A report and the folder it lies in; ``archived`` when a later one has taken its place."""

    folder: Path
    report: Report
    archived: bool

    @property
    def is_current_version(self) -> bool:
        """Whether its version counts as one that has reports now. The base model's report belongs to no version."""
        return not self.archived and self.report.step is not None


def list_outcomes(reports: ReportsFolder) -> list[OutcomeRecord]:
    """Every committed outcome, current and archived, from the small outcome files."""
    found = []
    for folder in (*_current_folders(reports), *_archived_folders(reports)):
        try:
            record = read_outcome(folder)
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
                report = files.read_report(folder)
            except FileNotFoundError:
                continue
            except (OSError, InvalidReport) as error:
                log.warning("the report in %s cannot be read: %s", folder, error)
                continue
            stored.append(StoredReport(folder, report, archived))
    return stored


def put_report(
    reports: ReportsFolder, report: Report, markdown: str, *, forced: bool = False, current_version: str | None = None
) -> bool:
    """Put a report in its place; False when another evaluator was first with the same identity.

    ``current_version`` is the expert's, where that is known. Its first report moves those of other versions to the
    archive, and a checkpoint of an older version that is evaluated after that goes there at once. Raises OSError when
    the folder cannot be written; what was there before is then still there, in its place or in the archive.
    """
    reports.root.mkdir(parents=True, exist_ok=True)
    staging = reports.root / f"{STAGING_PREFIX}{uuid.uuid4().hex}"
    staging.mkdir()
    try:
        files.write_new(staging, report, markdown)
        return _move_in(reports, staging, report, forced, current_version)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def is_late(report: Report, current_version: str | None, present: Sequence[str]) -> bool:
    """Whether a checkpoint belongs to a version whose successor has reports already."""
    return (
        report.step is not None
        and report.expert_version not in (current_version, *UNKNOWN_VERSIONS)
        and current_version in present
    )


def _move_in(reports: ReportsFolder, staging: Path, report: Report, forced: bool, version: str | None) -> bool:
    """Rename into place. The lock keeps two contenders from archiving each other's winner; the rename is the fence."""
    identity = report.identity
    final = reports.base if report.step is None else reports.checkpoint(report.step)
    with FileLock(reports.root / ".commit.lock", timeout=LOCK_SECONDS, mode=0o644):
        if not forced and any(record.identity == identity for record in list_outcomes(reports)):
            return False
        records = [_outcome_in(folder) for folder in _current_folders(reports)]
        current = [record.expert_version for record in records if record and record.identity.key.step is not None]
        if is_late(report, version, current):
            _archive(reports, staging, outcome_of(report), final.name)
            return True
        if report.step is not None and report.expert_version == version:
            _archive_other_versions(reports, version)
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


def _archive_other_versions(reports: ReportsFolder, version: str) -> None:
    """Make room for a new version of the expert. The base model's report belongs to none and stays."""
    for folder in _current_folders(reports):
        record = _outcome_in(folder)
        if record is None or record.identity.key.step is None:
            continue
        if record.expert_version not in (version, *UNKNOWN_VERSIONS):
            _archive(reports, folder, record)


def _archive(reports: ReportsFolder, folder: Path, record: OutcomeRecord | None, name: str | None = None) -> None:
    """Move a report out of the way, to a free name; without effect when somebody else has just done it."""
    version = record.expert_version if record else "unknown"
    model = record.identity.key.model_folder if record else "unknown"
    target = reports.archive / safe_name(version) / safe_name(model)
    target.mkdir(parents=True, exist_ok=True)
    for free in _free_names(name or folder.name):
        try:
            folder.rename(target / free)
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


def sweep_staging(reports: ReportsFolder, is_running: Callable[[], bool]) -> None:
    """Remove what killed evaluators left half staged, unless another evaluator is running here."""
    if is_running():
        return
    for path in _entries(reports.root):
        if path.name.startswith(STAGING_PREFIX):
            shutil.rmtree(path, ignore_errors=True)


def _outcome_in(folder: Path) -> OutcomeRecord | None:
    """What a report's folder says it is; the host's old reports have no outcome file, but say it themselves."""
    try:
        return read_outcome(folder)
    except FileNotFoundError:
        pass
    except OSError:
        return None
    try:
        return outcome_of(files.read_report(folder))
    except (OSError, InvalidReport):
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
