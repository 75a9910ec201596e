"""Reports that are hard to compare (comparable_reports.json), as values: one fixture for Python and for the browser."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sidestep.evaluator.cases.exchange import EngineInfo
from sidestep.evaluator.cases.result import CaseResult, CaseStatus
from sidestep.evaluator.comparing.advice import advice_from
from sidestep.evaluator.comparing.comparison import with_comparisons
from sidestep.evaluator.presenting.dashboard.build import write_dashboard
from sidestep.evaluator.presenting.dashboard.segments import member_key
from sidestep.evaluator.reporting.commit import comparable_reports
from sidestep.evaluator.results.counting import count_by_category, count_results
from sidestep.evaluator.results.migration import LEGACY, is_legacy
from sidestep.evaluator.results.report import Report, TimingEntry
from sidestep.evaluator.results.store import StoredReport
from sidestep.shared.files import replace_file
from sidestep.shared.protocol.identity import CheckpointKey, Identity
from sidestep.shared.protocol.layout import ReportsFolder
from sidestep.shared.protocol.outcomes import Outcome

PATH = Path(__file__).with_suffix(".json")


@dataclass(frozen=True)
class ComparableReports:
    """Every report by its name in the file, with the comparisons that the evaluator would have given it."""

    stored: dict[str, StoredReport]
    expected: dict[str, Any]

    @property
    def evaluated(self) -> dict[str, Report]:
        return {name: stored.report for name, stored in self.stored.items() if stored.report.evaluated}

    @property
    def names(self) -> dict[str, str]:
        """The name of every report by its key in the page."""
        return {member_key(stored.report): name for name, stored in self.stored.items()}

    @property
    def current(self) -> list[Report]:
        return [stored.report for stored in self.stored.values() if not stored.archived]

    def write_dashboard(self, root: Path) -> Path:
        """Write the page as an evaluator would; returns its path."""
        reports = ReportsFolder(root)
        replace_file(reports.advice, advice_from(self.current).to_bytes())
        write_dashboard(reports, list(self.stored.values()))
        return reports.dashboard


def load_comparable_reports() -> ComparableReports:
    document = json.loads(PATH.read_text(encoding="utf-8"))
    bare = {
        given["name"]: StoredReport(Path(), _report(given), given.get("archived", False))
        for given in document["reports"]
    }
    return ComparableReports({name: _compared(name, bare) for name in bare}, document["expected"])


def _compared(name: str, stored: dict[str, StoredReport]) -> StoredReport:
    """With its comparisons; the host's old reports have none."""
    own = stored[name]
    if is_legacy(own.report):
        return own
    others = comparable_reports(
        own.report, [other for other in stored.values() if other is not own], is_late=own.archived
    )
    return StoredReport(own.folder, with_comparisons(own.report, others), own.archived)


def _report(given: dict[str, Any]) -> Report:
    step, version = given["step"], given["version"]
    legacy = given.get("legacy", False)
    files_hash = LEGACY if legacy else f"m{step}-{version}-{given.get('salt', '')}"
    key = CheckpointKey(given.get("model_folder", "tiny"), step, files_hash)
    identity = Identity(key, given["suite"], given.get("decoding", "greedy"))
    cases = tuple(_case(name, *values) for name, values in given["cases"].items())
    return Report(
        checkpoint=identity.label,
        step=step,
        expert_name="comparable",
        expert_version=version,
        outcome=Outcome(given.get("outcome", "evaluated")),
        test_cases=cases,
        test_results=count_results(cases),
        categories=count_by_category(cases),
        identity=identity,
        environment=EngineInfo(device="cpu", dtype="float32"),
        timing=TimingEntry(finished_at=f"2026-01-01T00:00:{given['at']:06.3f}+00:00"),
    )


def _case(name: str, status: str, score: float | str | None, definition: str, weight: float = 1.0) -> CaseResult:
    return CaseResult(
        id=name,
        name=name,
        category="hard" if name.startswith("hash") else "plain",
        status=CaseStatus(status),
        score=None if score is None else float(score),
        output=f"answer to {name}",
        definition_hash=definition,
        weight=weight,
    )
