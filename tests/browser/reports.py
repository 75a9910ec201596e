"""The reports that the browser tests look at: a training of two versions, and one whose outputs attack the reader."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sidestep.evaluator.cases.case import Case, Message, Suite
from sidestep.evaluator.cases.exchange import EngineInfo
from sidestep.evaluator.cases.result import CaseResult, CaseStatus, CheckResult, Sharing, Slowdown
from sidestep.evaluator.reporting.commit import commit_report
from sidestep.evaluator.reporting.derived_files import refresh_derived_files
from sidestep.evaluator.results.counting import count_by_category, count_results
from sidestep.evaluator.results.report import Report, SuiteEntry, TimingEntry, TrainingEntry
from sidestep.evaluator.results.suites import keep_suite
from sidestep.shared.protocol.identity import CheckpointKey, Identity
from sidestep.shared.protocol.layout import ReportsFolder

P, F, U, E, X = (
    CaseStatus.PASSED, CaseStatus.FAILED, CaseStatus.UNSCORED, CaseStatus.EXPECTED_FAILURE, CaseStatus.UNEXPECTED_PASS,
)  # fmt: skip
SUITE = "5" * 64

# case -> status at the base model and at steps 10, 20, 30
STATUSES: dict[str, tuple[CaseStatus, ...]] = {
    "easy-1": (F, P, P, P),
    "easy-2": (F, F, P, P),
    "easy-3": (F, P, P, F),
    "hard-1": (F, F, F, P),
    "hard-2": (F, F, F, F),
    "hard-3": (F, P, F, P),
    "open-1": (U, U, U, U),
    "open-2": (E, E, X, E),
}


def write_reports(root: Path) -> Path:
    """A version 0.1.0 with one checkpoint, then 0.2.0 with three and the base model."""
    reports = ReportsFolder(root)
    keep_suite(reports, _suite())
    everything = {case: row[1] for case, row in STATUSES.items()}
    put(reports, make_report(10, everything, version="0.1.0", at=0))
    for column, step in enumerate((None, 10, 20, 30)):
        statuses = {case: row[column] for case, row in STATUSES.items()}
        put(reports, make_report(step, statuses, version="0.2.0", at=column + 1))
    return reports.dashboard


def put(reports: ReportsFolder, report: Report) -> None:
    assert commit_report(reports, report, current_version=report.expert_version)
    refresh_derived_files(reports)


def make_report(
    step: int | None, statuses: Mapping[str, CaseStatus], *, version: str = "1", at: int = 0,
    outputs: Mapping[str, str] | None = None,
) -> Report:  # fmt: skip
    cases = tuple(_case(name, status, step, (outputs or {}).get(name)) for name, status in statuses.items())
    identity = Identity(CheckpointKey("tiny", step, f"m{step}-{version}"), SUITE, "d")
    return Report(
        checkpoint=identity.label, step=step, expert_name="expert-shop", expert_version=version, test_cases=cases,
        test_results=count_results(cases), categories=count_by_category(cases),
        identity=identity,
        suite=SuiteEntry(name="shop", version="1", sha256=SUITE, cases=len(cases)),
        environment=EngineInfo(device="cpu", dtype="float32", base_model="tiny"),
        training=TrainingEntry(loss=None if step is None else 10 / step),
        sharing=Sharing(slowdown=0.012, low=0.004, high=0.02, run=Slowdown(slowdown=-0.001)),
        timing=TimingEntry(finished_at=f"2026-01-01T00:00:{at:02}+00:00", latency_seconds=3.0),
    )  # fmt: skip


def _case(name: str, status: CaseStatus, step: int | None, output: str | None) -> CaseResult:
    word = "right" if status is P else "wrong"
    text = f"SELECT {word} FROM answers WHERE step = {step}" if output is None else output
    score = None if status is U else 10.0 if status in (P, X) else 2.5
    return CaseResult(
        id=name, name=f"name of {name}", category=name.split("-")[0], status=status, score=score, output=text,
        checks=(CheckResult(scorer="exact", passed=status is P, score=score, detail="one line"),),
        definition_hash=name, output_tokens=5, finish_reason="stop",
    )  # fmt: skip


def _suite() -> Suite:
    cases = tuple(
        Case(name, f"name of {name}", (Message("user", f"question {name}"),), reference="SELECT right")
        for name in STATUSES
    )
    return Suite("shop", "1", cases, SUITE)
