"""From an ending to a committed report, and what follows from it: derived files, the outbox, one line for people."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime

from sidestep.evaluator.cases.case import Suite
from sidestep.evaluator.cases.result import CaseResult, Sharing
from sidestep.evaluator.comparing.agreement import judge_entry
from sidestep.evaluator.comparing.pass_at_k import pass_at_k
from sidestep.evaluator.engine.protocol import EngineInfo
from sidestep.evaluator.reporting.commit import commit_report
from sidestep.evaluator.reporting.refreshing import DerivedFiles
from sidestep.evaluator.results import report as schema
from sidestep.evaluator.results.suites import keep_suite
from sidestep.evaluator.settings import EvaluatorSettings
from sidestep.evaluator.suite.loading import case_hash
from sidestep.evaluator.watching.scan import Candidate
from sidestep.evaluator.working.evaluation import Ending
from sidestep.shared.logs import get_logger
from sidestep.shared.protocol import outbox
from sidestep.shared.protocol.layout import OUTBOX_NAME
from sidestep.shared.protocol.marker import Marker

log = get_logger("evaluator")


def commit_ending(
    settings: EvaluatorSettings, ending: Ending, derived_files: DerivedFiles, *, others_wait: bool = False
) -> schema.Report | None:
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
    release_held(settings, ending.task.candidate)
    _announce(written)
    return written


def build_report(settings: EvaluatorSettings, ending: Ending) -> schema.Report:
    """The report as it follows from an ending; comparisons are added when it is committed. Pure."""
    identity = ending.task.identity
    marker = ending.task.candidate.marker if ending.task.candidate else None
    cases = _cases(ending.cases, ending.suite)
    known = marker is not None and not marker.is_unmarked
    return schema.Report(
        checkpoint=identity.label,
        step=identity.key.step,
        timestamp=_iso(ending.finished_at) or "",
        expert_name=marker.expert_name if marker and known else settings.expert_name,
        expert_version=marker.expert_version if marker and known else settings.expert_version,
        outcome=ending.outcome,
        reason=ending.reason,
        test_results=schema.count_results(cases),
        categories=schema.count_by_category(cases),
        test_cases=cases,
        identity=schema.IdentityEntry.of(identity),
        suite=_suite(ending.suite),
        decoding=asdict(settings.decoding),
        environment=_environment(ending.engine),
        training=_training(marker),
        timing=schema.TimingEntry(
            published_at=_iso(marker.published_at) if marker else None,
            started_at=_iso(ending.started_at) or "",
            finished_at=_iso(ending.finished_at) or "",
            latency_seconds=ending.finished_at - marker.published_at if marker and marker.published_at else None,
            attach_seconds=ending.attach_seconds,
            generate_seconds=ending.generate_seconds,
            attempts=ending.attempts,
        ),
        pass_at_k=pass_at_k(cases),
        noise=schema.NoiseEntry(**asdict(ending.noise)),
        sharing=_sharing(ending.sharing),
        judge=judge_entry(cases, ending.suite),
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


def _cases(results: tuple[CaseResult, ...], suite: Suite | None) -> tuple[schema.CaseEntry, ...]:
    hashes = {case.id: case_hash(case) for case in suite.cases} if suite else {}
    return tuple(
        schema.CaseEntry(**{**asdict(result), "definition_hash": hashes.get(result.id, "")}) for result in results
    )


def _suite(suite: Suite | None) -> schema.SuiteEntry:
    if suite is None:
        return schema.SuiteEntry()
    return schema.SuiteEntry(name=suite.name, version=suite.version, sha256=suite.sha256, cases=len(suite.cases))


def _environment(engine: EngineInfo | None) -> schema.EnvironmentEntry:
    return schema.EnvironmentEntry(**asdict(engine)) if engine else schema.EnvironmentEntry()


def _sharing(sharing: Sharing) -> schema.SharingEntry:
    return schema.SharingEntry(
        **asdict(sharing.evaluation),
        run=schema.SlowdownEntry(**asdict(sharing.run)),
        rested_seconds=sharing.rested_seconds,
    )


def _training(marker: Marker | None) -> schema.TrainingEntry:
    if marker is None:
        return schema.TrainingEntry()
    return schema.TrainingEntry(
        run_id=marker.run_id,
        loss=marker.train_loss,
        learning_rate=marker.learning_rate,
        seconds_per_step=marker.seconds_per_step,
        adapter_type=marker.adapter_type,
    )


def _announce(report: schema.Report) -> None:
    """One line for people, with fields for machines."""
    counts, change = report.test_results, report.comparison
    fields = {"checkpoint": report.checkpoint, "outcome": report.outcome.value, **counts.model_dump()}
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
    line += slowdown_words(report.sharing)
    log.info("%s", line, extra={"fields": fields})


def slowdown_words(sharing: schema.SharingEntry) -> str:
    """The cost to training for people; empty where no training was measured. Pure."""
    if sharing.slowdown is None or sharing.low is None or sharing.high is None:
        return ""
    return f", training steps {sharing.slowdown:+.1%} ({sharing.low:+.1%} to {sharing.high:+.1%})"


def _iso(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
