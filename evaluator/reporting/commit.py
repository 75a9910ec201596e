"""Committing a report: its comparisons follow from what is in the folder, then it is put in its place, once."""

from __future__ import annotations

from collections.abc import Sequence

from sidestep.evaluator.comparing.comparison import with_comparisons
from sidestep.evaluator.presenting.markdown import report_markdown
from sidestep.evaluator.results.report import Report
from sidestep.evaluator.results.store import StoredReport, is_late, put_report, read_reports
from sidestep.shared.protocol.layout import ReportsFolder


def commit_report(
    reports: ReportsFolder, report: Report, *, forced: bool = False, current_version: str | None = None
) -> Report | None:
    """Commit a report with its comparisons, and return it as it was written; None when another evaluator was first.

    ``current_version`` is the expert's, where that is known. Raises OSError when the folder cannot be written; what was
    there before is then still there, in its place or in the archive.
    """
    stored = read_reports(reports)
    present = [entry.report.expert_version for entry in stored if entry.is_current_version]
    late = is_late(report, current_version, present)
    report = with_comparisons(report, comparable_reports(report, stored, is_late=late))
    written = put_report(reports, report, report_markdown(report), forced=forced, current_version=current_version)
    return report if written else None


def comparable_reports(report: Report, stored: Sequence[StoredReport], *, is_late: bool = False) -> list[Report]:
    """The reports that a report's comparisons follow from: the current ones, and those of other versions.

    A checkpoint of a version that is no longer the current one is compared within its own version, which is archived.
    """
    if is_late:
        everything = [entry.report for entry in stored]
        return [other for other in everything if other.step is None or not _is_other_version(other, report)]
    return [entry.report for entry in stored if not entry.archived or _is_other_version(entry.report, report)]


def _is_other_version(other: Report, report: Report) -> bool:
    return other.expert_version != report.expert_version
