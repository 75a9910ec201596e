"""Which report somebody means by a step, a name or a version."""

from __future__ import annotations

from sidestep.evaluator.comparing.comparison import best_of
from sidestep.evaluator.results.report import Report
from sidestep.evaluator.results.store import StoredReport, read_reports
from sidestep.shared.errors import ConfigError, NotComparable
from sidestep.shared.protocol.layout import ReportsFolder, checkpoint_name, step_named


def find_report(stored: list[StoredReport], name: str, reports: ReportsFolder) -> Report:
    """The report a user means by a step, ``checkpoint-<step>``, ``base``, or a version (its last checkpoint).

    Raises NotComparable with the names that there are.
    """
    evaluated = [entry for entry in stored if entry.report.evaluated]
    step = step_named(name)
    label = name if step is None else checkpoint_name(step)
    named = [entry for entry in evaluated if entry.report.checkpoint == label]
    if named:
        return min(named, key=lambda entry: entry.archived).report
    versions = [entry for entry in evaluated if entry.report.expert_version == name and entry.report.step is not None]
    if versions:
        return max(versions, key=lambda entry: (not entry.archived, entry.report.step or 0)).report
    known = ", ".join(sorted({entry.report.checkpoint for entry in evaluated})) or "none"
    raise NotComparable(f"{reports.root} has no evaluated report of {name!r}", hint=f"there are: {known}")


def find_current_report(reports: ReportsFolder, name: str) -> Report:
    """The current report that ``newest``, ``best`` or a step means; one that ended otherwise than evaluated, too.

    Raises NotComparable or ConfigError.
    """
    current = [stored.report for stored in read_reports(reports) if stored.is_current_version]
    if name == "newest":
        found = max(current, key=lambda report: report.step or 0, default=None)
    elif name == "best":
        found = best_of(report for report in current if report.evaluated)
    elif (step := step_named(name)) is not None:
        found = next((report for report in current if report.step == step), None)
    else:
        raise ConfigError(f"--checkpoint {name!r} is neither a step nor best nor newest")
    if found is None:
        known = ", ".join(sorted(report.checkpoint for report in current)) or "none"
        raise NotComparable(f"{reports.root} has no report of {name!r}", hint=f"there are: {known}")
    return found
