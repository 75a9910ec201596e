"""The report of one checkpoint, as ``report.json`` holds it (docs/reports.md).

The keys that the host's old reports had keep their names and types; everything else stands beside them.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from sidestep.evaluator.cases.result import CaseStatus
from sidestep.evaluator.results.document import Document
from sidestep.evaluator.results.evidence import (
    CategoryChange,
    Interval,
    JudgeEntry,
    MeasureEntry,
    VerdictEntry,
    WeightedRate,
)
from sidestep.evaluator.statistics import effective_cases, wilson
from sidestep.shared.files import to_json
from sidestep.shared.protocol.identity import CheckpointKey, Identity
from sidestep.shared.protocol.outcomes import SCHEMA_VERSION, Outcome, OutcomeRecord
from sidestep.shared.records import record_document


class IdentityEntry(Document):
    """What makes this outcome the same outcome (shared.protocol.identity.Identity), and its short name."""

    model_folder: str
    step: int | None
    files_hash: str = Field(validation_alias="manifest_hash", serialization_alias="manifest_hash")
    suite_hash: str
    decoding_hash: str
    id: str = ""

    @property
    def identity(self) -> Identity:
        key = CheckpointKey(self.model_folder, self.step, self.files_hash)
        return Identity(key, self.suite_hash, self.decoding_hash)

    @classmethod
    def of(cls, identity: Identity) -> IdentityEntry:
        """An identity as a report holds it."""
        return cls.model_validate({**record_document(identity), "id": identity.id})


class CheckEntry(Document):
    """One scorer's opinion of one answer; score 0..10."""

    scorer: str
    passed: bool
    score: float | None
    detail: str = ""


class SampleEntry(Document):
    """One of several sampled answers (evaluator.cases.result.SampleResult)."""

    output: str
    passed: bool | None
    score: float | None


class CaseEntry(Document):
    """One case of a report. ``score`` is 0..10, null when unscored."""

    id: str
    name: str
    status: CaseStatus
    score: float | None
    output: str
    expected_keywords: tuple[str, ...] = ()
    keywords_found: tuple[str, ...] = ()
    category: str = ""
    checks: tuple[CheckEntry, ...] = ()
    definition_hash: str = ""
    failure_reason: str | None = None
    weight: float = 1.0
    prompt_tokens: int = 0
    output_tokens: int = 0
    finish_reason: str = ""
    seconds: float = 0.0
    reference_logprob: float | None = None
    samples: tuple[SampleEntry, ...] = ()


class TestResults(Document):
    """Counts; ``success_rate`` is passed / (passed + failed): unscored and may_fail cases stand apart.

    ``interval`` is Wilson's of the success rate, null when nothing was decided; ``weighted`` is null where all weights
    are equal.
    """

    total: int = 0
    passed: int = 0
    failed: int = 0
    success_rate: float = 0.0
    unscored: int = 0
    expected_failures: int = 0
    unexpected_passes: int = 0
    interval: Interval | None = None
    weighted: WeightedRate | None = None

    @property
    def rate(self) -> float:
        """The success rate by which checkpoints are ranked: by weight where weights differ."""
        return self.weighted.rate if self.weighted else self.success_rate


class LegacyComparison(Document):
    """Comparison with the previous checkpoint, as the host's reports have it; the first two are counts."""

    previous_checkpoint: str | None = None
    improvements: int = 0
    regressions: int = 0
    new_failures: tuple[str, ...] = ()
    fixed_failures: tuple[str, ...] = ()
    improved_tests: tuple[str, ...] = ()
    regressed_tests: tuple[str, ...] = ()


class ComparisonEntry(Document):
    """One comparison: what was compared with what, which cases moved, and whether that is more than chance.

    Cases marked ``may_fail`` stand apart: ``unexpected_passes`` pass now and failed before, ``expected_failures`` the
    other way round; neither counts in anything else.
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
    categories: dict[str, CategoryChange] = Field(default_factory=dict)


class SuiteEntry(Document):
    name: str = ""
    version: str = ""
    sha256: str = ""
    cases: int = 0


class TrainingEntry(Document):
    """What the marker said about training at this step."""

    run_id: str = ""
    loss: float | None = None
    learning_rate: float | None = None
    seconds_per_step: float | None = None
    adapter_type: str = ""


class EnvironmentEntry(Document):
    """Where the answers come from; answers of another dtype or device are not the same experiment."""

    device: str = ""
    dtype: str = ""
    base_model: str = ""
    base_fingerprint: str = ""
    versions: dict[str, str] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()


class TimingEntry(Document):
    """Wall clock as ISO 8601 in UTC; durations in seconds; latency is from marker to report."""

    published_at: str | None = None
    started_at: str = ""
    finished_at: str = ""
    latency_seconds: float | None = None
    attach_seconds: float = 0.0
    generate_seconds: float = 0.0
    attempts: int = 1


class NoiseEntry(Document):
    """How often a checkpoint's verdicts differ from its own under another batch layout.

    ``flip_rate`` is 0 where answers are bit-identical in every layout, a measured share of ``cases`` where they are
    not, and null where nobody has measured it.
    """

    flip_rate: float | None = None
    cases: int = 0
    how: str = ""


class SlowdownEntry(Document):
    """What training beside the evaluator lost: 0.02 is 2 % slower steps; null where no training was seen.

    ``low`` and ``high`` bound the slowdown with 95 % confidence.
    """

    slowdown: float | None = None
    low: float | None = None
    high: float | None = None
    steps_beside: int = 0
    steps_alone: int = 0


class SharingEntry(SlowdownEntry):
    """What this evaluation cost the training beside it, what the run so far did, and how long it rested."""

    run: SlowdownEntry = SlowdownEntry()
    rested_seconds: float = 0.0


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
    test_results: TestResults = TestResults()
    comparison: LegacyComparison = LegacyComparison()
    comparisons: dict[str, ComparisonEntry] = Field(default_factory=dict)
    categories: dict[str, TestResults] = Field(default_factory=dict)
    test_cases: tuple[CaseEntry, ...] = ()
    identity: IdentityEntry
    suite: SuiteEntry = SuiteEntry()
    decoding: dict[str, Any] = Field(default_factory=dict)
    environment: EnvironmentEntry = EnvironmentEntry()
    training: TrainingEntry = TrainingEntry()
    timing: TimingEntry = TimingEntry()
    noise: NoiseEntry = NoiseEntry()
    sharing: SharingEntry = SharingEntry()
    judge: JudgeEntry | None = None
    pass_at_k: dict[str, float] = Field(default_factory=dict)

    @property
    def evaluated(self) -> bool:
        return self.outcome is Outcome.EVALUATED

    def to_bytes(self) -> bytes:
        return to_json(self.model_dump(mode="json"))


class InvalidReport(ValueError):
    """The bytes are no report of this schema; the text says why."""


def outcome_of(report: Report) -> OutcomeRecord:
    """The small record of a report."""
    return OutcomeRecord(
        checkpoint=report.checkpoint,
        outcome=report.outcome,
        reason=report.reason,
        expert_version=report.expert_version,
        finished_at=report.timing.finished_at,
        identity=report.identity.identity,
    )


def count_results(cases: tuple[CaseEntry, ...]) -> TestResults:
    """Counts and rates over cases. Pure."""
    statuses = [case.status for case in cases]
    passed, failed = statuses.count(CaseStatus.PASSED), statuses.count(CaseStatus.FAILED)
    decided = passed + failed
    return TestResults(
        total=len(cases),
        passed=passed,
        failed=failed,
        success_rate=passed / decided if decided else 0.0,
        unscored=statuses.count(CaseStatus.UNSCORED),
        expected_failures=statuses.count(CaseStatus.EXPECTED_FAILURE),
        unexpected_passes=statuses.count(CaseStatus.UNEXPECTED_PASS),
        interval=rate_interval(passed, decided) if decided else None,
        weighted=weighted_rate(cases),
    )


def weighted_rate(cases: tuple[CaseEntry, ...]) -> WeightedRate | None:
    """The rate with each decided case counted by its weight, or None where that is the success rate itself."""
    decided = [case for case in cases if case.status in (CaseStatus.PASSED, CaseStatus.FAILED)]
    weights = [case.weight for case in decided]
    if len(set(weights)) < 2:
        return None
    rate = sum(case.weight for case in decided if case.status is CaseStatus.PASSED) / sum(weights)
    count = effective_cases(weights)
    return WeightedRate(rate=rate, interval=rate_interval(rate * count, count), effective_cases=count)


def rate_interval(passed: float, decided: float) -> Interval:
    """Wilson's interval as a report holds it."""
    bounds = wilson(passed, decided)
    return Interval(low=bounds.low, high=bounds.high)


def count_by_category(cases: tuple[CaseEntry, ...]) -> dict[str, TestResults]:
    """Counts for each category, in the order of first appearance."""
    categories = dict.fromkeys(case.category for case in cases)
    return {each: count_results(tuple(case for case in cases if case.category == each)) for each in categories}
