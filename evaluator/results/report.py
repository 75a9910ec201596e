"""The report of one checkpoint, as ``report.json`` holds it (docs/reports.md).

The keys that the host's old reports had keep their names and types; everything else is added to them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any

from pydantic import PlainSerializer, PlainValidator

from sidestep.evaluator.cases.exchange import EngineInfo
from sidestep.evaluator.cases.result import CaseResult, NoiseFloor, Sharing
from sidestep.evaluator.results.counting import TestResults
from sidestep.evaluator.results.document import Document
from sidestep.evaluator.results.evidence import CategoryChange, LlmJudgeEntry, MeasureEntry, VerdictEntry
from sidestep.shared.protocol.identity import Identity, identity_document
from sidestep.shared.protocol.outcomes import SCHEMA_VERSION, Outcome, OutcomeRecord
from sidestep.shared.records import read_record


@dataclass(frozen=True, kw_only=True)
class IdentityEntry(Document):
    """What makes this outcome the same outcome, and its short name, which follows from the rest."""

    model_folder: str
    step: int | None
    manifest_hash: str
    suite_hash: str
    decoding_hash: str
    id: str = ""


IdentityMember = Annotated[
    Identity,
    PlainValidator(partial(read_record, Identity)),
    PlainSerializer(lambda identity: IdentityEntry(**identity_document(identity)), return_type=IdentityEntry),
]
"""An identity in a pydantic document: read and written as shared/ does it, and IdentityEntry as its published form."""


@dataclass(frozen=True, kw_only=True)
class LegacyComparison(Document):
    """Comparison with the previous checkpoint, as the host's reports have it; the first two are counts."""

    previous_checkpoint: str | None = None
    improvements: int = 0
    regressions: int = 0
    new_failures: tuple[str, ...] = ()
    fixed_failures: tuple[str, ...] = ()
    improved_tests: tuple[str, ...] = ()
    regressed_tests: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ComparisonEntry(Document):
    """One comparison: what was compared with what, which cases moved, and whether that is more than chance.

    Cases marked ``may_fail`` are listed separately: ``unexpected_passes`` pass now and failed before,
    ``expected_failures`` the other way round; neither counts in anything else.
    """

    against: str
    against_id: str = ""
    against_version: str = ""
    rate_before: float = 0.0
    rate_after: float = 0.0
    compared_cases: int = 0
    new_failures: tuple[str, ...] = ()
    fixed_failures: tuple[str, ...] = ()
    improved_tests: tuple[str, ...] = ()
    regressed_tests: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    unexpected_passes: tuple[str, ...] = ()
    expected_failures: tuple[str, ...] = ()
    verdict: VerdictEntry | None = None
    score: MeasureEntry | None = None
    likelihood: MeasureEntry | None = None
    categories: dict[str, CategoryChange] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SuiteEntry(Document):
    """Which test cases were asked; ``cases`` is their number."""

    name: str = ""
    version: str = ""
    sha256: str = ""
    cases: int = 0


@dataclass(frozen=True, kw_only=True)
class TrainingEntry(Document):
    """What the marker said about training at this step."""

    run_id: str = ""
    loss: float | None = None
    learning_rate: float | None = None
    seconds_per_step: float | None = None
    adapter_type: str = ""


@dataclass(frozen=True, kw_only=True)
class TimingEntry(Document):
    """Wall clock as ISO 8601 in UTC; durations in seconds; latency is from marker to report."""

    published_at: str | None = None
    started_at: str = ""
    finished_at: str = ""
    latency_seconds: float | None = None
    attach_seconds: float = 0.0
    generate_seconds: float = 0.0
    attempts: int = 1


@dataclass(frozen=True, kw_only=True)
class Report(Document):
    """Everything known about one evaluated checkpoint, or about why it was not evaluated (``outcome``, ``reason``)."""

    schema_version: int = SCHEMA_VERSION
    checkpoint: str
    step: int | None
    timestamp: str = ""
    expert_name: str = ""
    expert_version: str = ""
    outcome: Outcome = Outcome.EVALUATED
    reason: str | None = None
    test_results: TestResults = field(default=TestResults())
    comparison: LegacyComparison = LegacyComparison()
    comparisons: dict[str, ComparisonEntry] = field(default_factory=dict)
    categories: dict[str, TestResults] = field(default_factory=dict)
    test_cases: tuple[CaseResult, ...] = ()
    identity: IdentityMember
    suite: SuiteEntry = SuiteEntry()
    decoding: dict[str, Any] = field(default_factory=dict)
    environment: EngineInfo = field(default=EngineInfo())
    training: TrainingEntry = TrainingEntry()
    timing: TimingEntry = TimingEntry()
    noise: NoiseFloor = field(default=NoiseFloor())
    sharing: Sharing = field(default=Sharing())
    judge: LlmJudgeEntry | None = None
    pass_at_k: dict[str, float] = field(default_factory=dict)

    @property
    def evaluated(self) -> bool:
        return self.outcome is Outcome.EVALUATED


class InvalidReport(ValueError):
    """The bytes are not a report of this schema; the text says why."""


def outcome_of(report: Report) -> OutcomeRecord:
    """The small record of a report."""
    return OutcomeRecord(
        checkpoint=report.checkpoint,
        outcome=report.outcome,
        reason=report.reason,
        expert_version=report.expert_version,
        finished_at=report.timing.finished_at,
        identity=report.identity,
    )
