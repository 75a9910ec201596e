"""From an ending to a committed report, and what follows from it: derived files, the outbox, one line for people."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime

from sidestep.evaluator.cases.case import Suite
from sidestep.evaluator.cases.exchange import EngineInfo
from sidestep.evaluator.cases.result import CaseResult, Sharing
from sidestep.evaluator.comparing.agreement import llm_judge_entry
from sidestep.evaluator.comparing.pass_at_k import pass_at_k
from sidestep.evaluator.reporting.commit import commit_report
from sidestep.evaluator.reporting.refreshing import DerivedFiles
from sidestep.evaluator.results.counting import count_by_category, count_results
from sidestep.evaluator.results.report import Report, SuiteEntry, TimingEntry, TrainingEntry
from sidestep.evaluator.results.suites import keep_suite
from sidestep.evaluator.settings import EvaluatorSettings
from sidestep.evaluator.suite.hashing import case_hash
from sidestep.evaluator.watching.scan import Candidate
from sidestep.evaluator.working.evaluation import Ending
from sidestep.shared.logs import get_logger
from sidestep.shared.protocol import outbox
from sidestep.shared.protocol.layout import OUTBOX_NAME
from sidestep.shared.protocol.marker import Marker

log = get_logger("evaluator")

LATEST_TIME = 2.0**33  # seconds since the epoch: the year 2242


def commit_ending(
    settings: EvaluatorSettings, ending: Ending, derived_files: DerivedFiles, *, others_wait: bool = False
) -> Report | None:
    """Commit the report of an ending; returns it as it was written, or None when another evaluator was first.

    Raises OSError when that is impossible.
    """
    reports = settings.place.reports
    report = build_report(settings, ending)
    written = commit_report(reports, report, forced=ending.task.forced, current_version=settings.current_version())
    if written is None:
        log.info("%s: another evaluator was first", report.checkpoint)
        return None
    if ending.suite:
        keep_suite(reports, ending.suite)
    derived_files.refresh(others_wait=others_wait)
    if ending.outcome.settles:
        release_held(settings, ending.task.candidate)
    _announce(written)
    return written


def build_report(settings: EvaluatorSettings, ending: Ending) -> Report:
    """The report as it follows from an ending; comparisons are added when it is committed. Pure."""
    identity = ending.task.identity
    marker = ending.task.candidate.marker if ending.task.candidate else None
    cases = _cases(ending.cases, ending.suite)
    known = marker is not None and not marker.is_unmarked
    published_at = time_of_publishing(marker) if marker else None
    return Report(
        checkpoint=identity.label,
        step=identity.key.step,
        timestamp=_iso(ending.finished_at) or "",
        expert_name=marker.run.expert_name if marker and known else settings.expert_name,
        expert_version=marker.run.expert_version if marker and known else settings.expert_version,
        outcome=ending.outcome,
        reason=ending.reason,
        test_results=count_results(cases),
        categories=count_by_category(cases),
        test_cases=cases,
        identity=identity,
        suite=_suite(ending.suite),
        decoding=asdict(settings.decoding),
        environment=ending.engine or EngineInfo(),
        training=_training(marker),
        timing=TimingEntry(
            published_at=_iso(published_at),
            started_at=_iso(ending.started_at) or "",
            finished_at=_iso(ending.finished_at) or "",
            latency_seconds=None if published_at is None else ending.finished_at - published_at,
            attach_seconds=ending.work.attach_seconds,
            generate_seconds=ending.work.generate_seconds,
            attempts=ending.attempts,
        ),
        pass_at_k=pass_at_k(cases),
        noise=ending.work.noise,
        sharing=ending.work.sharing,
        judge=llm_judge_entry(cases, ending.suite),
    )


def release_held(settings: EvaluatorSettings, candidate: Candidate | None) -> None:
    """Prune the outbox entry of an outcome. With the weights read-only, the next publish does it instead."""
    if candidate is None or candidate.marker is None:
        return
    for source in candidate.sources:
        if source.parent.name == OUTBOX_NAME:
            with suppress(OSError):
                outbox.remove(source)
    for model in settings.place.holding_folders():
        if model.root.name == candidate.model_folder and candidate.skipped:
            with suppress(OSError):
                outbox.remove_tombstone(model, candidate.marker)


def _cases(results: tuple[CaseResult, ...], suite: Suite | None) -> tuple[CaseResult, ...]:
    """The results with the hashes of what was asked, by which later reports know whether they ask the same."""
    hashes = {case.id: case_hash(case) for case in suite.cases} if suite else {}
    return tuple(replace(result, definition_hash=hashes.get(result.id, "")) for result in results)


def _suite(suite: Suite | None) -> SuiteEntry:
    if suite is None:
        return SuiteEntry()
    return SuiteEntry(name=suite.name, version=suite.version, sha256=suite.sha256, cases=len(suite.cases))


def _training(marker: Marker | None) -> TrainingEntry:
    if marker is None:
        return TrainingEntry()
    return TrainingEntry(
        run_id=marker.run_id,
        loss=marker.metrics.train_loss,
        learning_rate=marker.metrics.learning_rate,
        seconds_per_step=marker.metrics.seconds_per_step,
        adapter_type=marker.run.adapter_type,
    )


def _announce(report: Report) -> None:
    """One line for people, with fields for machines."""
    counts, change = report.test_results, report.comparison
    fields = {"checkpoint": report.checkpoint, "outcome": report.outcome.value, **counts.to_dict()}
    if not report.evaluated:
        log.warning("%s: %s: %s", report.checkpoint, report.outcome.value, report.reason, extra={"fields": fields})
        return
    decided = counts.passed + counts.failed
    line = f"{report.checkpoint}: {counts.passed} of {decided} passed ({counts.success_rate:.1%})"
    if change.previous_checkpoint:
        fixed, broken = len(change.fixed_failures), len(change.new_failures)
        line += f", {fixed} fixed and {broken} broken since {change.previous_checkpoint}"
    if report.timing.latency_seconds is not None:
        line += f", {report.timing.latency_seconds:.0f} s after its marker"
    line += describe_slowdown(report.sharing)
    log.info("%s", line, extra={"fields": fields})


def describe_slowdown(sharing: Sharing) -> str:
    """The cost to training for people; empty where no training was measured. Pure."""
    if sharing.slowdown is None or sharing.low is None or sharing.high is None:
        return ""
    return f", training steps {sharing.slowdown:+.1%} ({sharing.low:+.1%} to {sharing.high:+.1%})"


def time_of_publishing(marker: Marker) -> float | None:
    """When a checkpoint was published, in seconds since the epoch; None for a number that is not a time. Pure.

    Markers are untrusted input: NaN or a year beyond the calendar's must not stop an evaluation.
    """
    seconds = marker.published_at
    return seconds if seconds is not None and 0 < seconds < LATEST_TIME else None


def _iso(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
