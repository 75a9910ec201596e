"""What follows from all reports: comparisons in place, history, advice, dashboard. Deleting it loses nothing."""

from __future__ import annotations

from collections.abc import Sequence

from filelock import FileLock

from sidestep.evaluator.comparing.advice import advice_from
from sidestep.evaluator.comparing.comparison import best_of, with_comparisons
from sidestep.evaluator.presenting.comparison_json import comparison_json
from sidestep.evaluator.presenting.dashboard.build import write_dashboard
from sidestep.evaluator.presenting.markdown import report_markdown
from sidestep.evaluator.reporting.commit import comparable_reports
from sidestep.evaluator.results import files
from sidestep.evaluator.results.migration import is_legacy
from sidestep.evaluator.results.store import StoredReport, read_reports
from sidestep.shared.files import replace_file, to_json
from sidestep.shared.logs import get_logger
from sidestep.shared.protocol.layout import ReportsFolder

log = get_logger("evaluator.reports")


def refresh_derived_files(reports: ReportsFolder, *, keep_reports: int | None = None) -> list[StoredReport]:
    """Bring everything that follows from the reports up to date, under a lock; returns the reports as they are then.

    Newest first means that a predecessor may come after its successor: the successor's comparisons are then refreshed
    in place, atomically. Deleting comparison.json or advice.json loses nothing. With ``keep_reports``, older reports
    are compressed.
    """
    with FileLock(reports.root / ".views.lock", mode=0o644):
        stored = read_reports(reports)
        fresh = [_refresh(entry, stored) for entry in stored]
        current = [entry.report for entry in fresh if not entry.archived]
        archived = [entry.report for entry in fresh if entry.archived]
        replace_file(reports.comparison, to_json(comparison_json(current, archived)))
        replace_file(reports.advice, advice_from(current).to_bytes())
        if keep_reports is not None:
            keep_newest(fresh, keep_reports)
        try:
            write_dashboard(reports, fresh)
        except OSError as error:  # a picture is not a reason to stop evaluating; the next report tries again
            log.warning("%s cannot be written: %s", reports.dashboard, error)
        return fresh


def _refresh(stored: StoredReport, everything: list[StoredReport]) -> StoredReport:
    """Bring a report's comparisons up to date, in its file where they have changed; returns it as it is then."""
    if stored.archived or is_legacy(stored.report):
        return stored
    others = comparable_reports(stored.report, [entry for entry in everything if entry is not stored])
    fresh = with_comparisons(stored.report, others)
    if fresh != stored.report:
        files.refresh(stored.folder, fresh, report_markdown(fresh))
    return StoredReport(stored.folder, fresh, False)


def keep_newest(stored: Sequence[StoredReport], keep: int) -> int:
    """Compress all reports but the newest ``keep`` of each model, its best one and the base model's; how many it were.

    Nothing is lost: every reader takes compressed reports, too.
    """
    models: dict[str, list[StoredReport]] = {}
    for entry in stored:
        if entry.report.step is not None:
            models.setdefault(entry.report.identity.key.model_folder, []).append(entry)
    count = 0
    for entries in models.values():
        current = sorted((entry for entry in entries if not entry.archived), key=lambda entry: entry.report.step or 0)
        best = best_of(entry.report for entry in current if entry.report.evaluated)
        newest = current[-keep:] if keep else []
        plain = {entry.folder for entry in (*newest, *(entry for entry in current if entry.report is best))}
        count += sum(files.compress(entry.folder) for entry in entries if entry.folder not in plain)
    return count
