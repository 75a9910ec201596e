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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from sidestep.evaluator.reporting import files
from sidestep.evaluator.reporting.advice import advice_from
from sidestep.evaluator.reporting.comparison import best_of, with_comparisons
from sidestep.evaluator.reporting.dashboard.build import write_dashboard
from sidestep.evaluator.reporting.history import history_document
from sidestep.evaluator.reporting.migration import is_legacy
from sidestep.evaluator.reporting.report import InvalidReport, OutcomeRecord, Report, outcome_of, parse_outcome
from sidestep.shared.durable import fsync_folder, read_bounded, replace_file, to_json
from sidestep.shared.layout import BASE_REPORT_NAME, MAX_MARKER_BYTES, OUTCOME_NAME, ReportsFolder, checkpoint_step
from sidestep.shared.logs import get_logger

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
                report = files.read_report(folder)
            except FileNotFoundError:
                continue
            except (OSError, InvalidReport) as error:
                log.warning("the report in %s cannot be read: %s", folder, error)
                continue
            stored.append(StoredReport(folder, report, archived))
    return stored


def commit(reports: ReportsFolder, report: Report, *, forced: bool = False, current_version: str | None = None) -> bool:
    """Put a report in its place; False when another evaluator was first with the same identity.

    ``current_version`` is the expert's, where that is known. Its first report moves those of other versions to the
    archive, and a checkpoint of an older version that is evaluated after that goes there at once. The report's
    comparisons are computed here, from what is in the folder. Raises OSError when the folder cannot be written; what
    was there before is then still there, in its place or in the archive.
    """
    reports.root.mkdir(parents=True, exist_ok=True)
    stored = read_reports(reports)
    late = _is_late(report, current_version, [each.report.expert_version for each in stored if each.is_current_version])
    report = with_comparisons(report, _compared_with(report, stored, is_late=late))
    staging = reports.root / f"{STAGING_PREFIX}{uuid.uuid4().hex}"
    staging.mkdir()
    try:
        files.write_new(staging, report)
        return _move_in(reports, staging, report, forced, current_version)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _is_late(report: Report, current_version: str | None, present: Sequence[str]) -> bool:
    """Whether a checkpoint belongs to a version whose successor has reports already."""
    return (
        report.step is not None
        and report.expert_version not in (current_version, *UNKNOWN_VERSIONS)
        and current_version in present
    )


def _compared_with(report: Report, stored: Sequence[StoredReport], *, is_late: bool = False) -> list[Report]:
    """The reports that a report's comparisons follow from: the current ones, and those of other versions.

    A checkpoint of a version that is no longer the current one is compared within its own version, which is archived.
    """
    if is_late:
        return [
            each.report for each in stored if each.report.step is None or not _is_other_version(each.report, report)
        ]
    return [each.report for each in stored if not each.archived or _is_other_version(each.report, report)]


def _is_other_version(other: Report, report: Report) -> bool:
    return other.expert_version != report.expert_version


def _move_in(reports: ReportsFolder, staging: Path, report: Report, forced: bool, version: str | None) -> bool:
    """Rename into place. The lock keeps two contenders from archiving each other's winner; the rename is the fence."""
    identity = report.identity.identity
    final = reports.base if report.step is None else reports.checkpoint(report.step)
    with FileLock(reports.root / ".commit.lock", timeout=LOCK_SECONDS, mode=0o644):
        if not forced and any(record.identity.identity == identity for record in list_outcomes(reports)):
            return False
        records = [_outcome_in(folder) for folder in _current_folders(reports)]
        current = [each.expert_version for each in records if each and each.identity.step is not None]
        if _is_late(report, version, current):
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
        if record and record.identity.step is not None and record.expert_version not in (version, *UNKNOWN_VERSIONS):
            _archive(reports, folder, record)


def _archive(reports: ReportsFolder, folder: Path, record: OutcomeRecord | None, name: str | None = None) -> None:
    """Move a report out of the way, to a free name; without effect when somebody else has just done it."""
    version = record.expert_version if record else "unknown"
    model = record.identity.model_folder if record else "unknown"
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


def rebuild_views(reports: ReportsFolder, *, keep_reports: int | None = None) -> list[StoredReport]:
    """Bring everything that follows from the reports up to date, under a lock; returns the reports as they are then.

    Newest first means that a predecessor may land after its successor: the successor's comparisons are then refreshed
    in place, atomically. Deleting comparison.json or advice.json loses nothing. With ``keep_reports``, older reports
    are compressed.
    """
    with FileLock(reports.root / ".views.lock", mode=0o644):
        stored = read_reports(reports)
        fresh = [_refreshed(each, stored) for each in stored]
        current = [each.report for each in fresh if not each.archived]
        archived = [each.report for each in fresh if each.archived]
        replace_file(reports.comparison, to_json(history_document(current, archived)))
        replace_file(reports.advice, to_json(advice_from(current).model_dump(mode="json")))
        if keep_reports is not None:
            keep_newest(fresh, keep_reports)
        try:
            write_dashboard(reports, fresh)
        except OSError as error:  # a picture is no reason to stop evaluating; the next report tries again
            log.warning("%s cannot be written: %s", reports.dashboard, error)
        return fresh


def _refreshed(stored: StoredReport, everything: list[StoredReport]) -> StoredReport:
    if stored.archived or is_legacy(stored.report):
        return stored
    others = _compared_with(stored.report, [each for each in everything if each is not stored])
    fresh = with_comparisons(stored.report, others)
    if fresh != stored.report:
        files.refresh(stored.folder, fresh)
    return StoredReport(stored.folder, fresh, False)


def keep_newest(stored: Sequence[StoredReport], keep: int) -> int:
    """Compress all reports but the newest ``keep`` of each model, its best one and the base model's; how many it were.

    Nothing is lost: every reader takes compressed reports, too.
    """
    models: dict[str, list[StoredReport]] = {}
    for each in stored:
        if each.report.step is not None:
            models.setdefault(each.report.identity.model_folder, []).append(each)
    count = 0
    for group in models.values():
        current = sorted((each for each in group if not each.archived), key=lambda each: each.report.step or 0)
        best = best_of(each.report for each in current if each.report.evaluated)
        spared = {each.folder for each in current[-keep:] if keep} | {
            each.folder for each in current if each.report is best
        }
        count += sum(files.compress(each.folder) for each in group if each.folder not in spared)
    return count


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
        return parse_outcome(read_bounded(folder / OUTCOME_NAME, MAX_MARKER_BYTES))
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
