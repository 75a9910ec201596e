"""``comparison.json``: the history of every case over all checkpoints and versions. A pure function of all reports."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from sidestep.evaluator.comparing.comparison import best_of
from sidestep.evaluator.results.report import ComparisonEntry, Report

SCHEMA_VERSION = 2


def comparison_json(current: Sequence[Report], archived: Sequence[Report]) -> dict[str, Any]:
    """The whole document; deleting the file loses nothing.

    ``archived`` reports have been replaced by later ones (an earlier version, run or suite), and are marked so.
    """
    entries = [*_checkpoints(archived, True), *_checkpoints(current, False)]
    evaluated = [report for report in current if report.evaluated and report.step is not None]
    best = best_of(evaluated)
    return {
        "schema_version": SCHEMA_VERSION,
        "best_checkpoint": best.checkpoint if best else None,
        "versions": _versions(current, archived),
        "checkpoints": entries,
        "cases": _cases((*archived, *current)),
    }


def _checkpoints(reports: Iterable[Report], archived: bool) -> list[dict[str, Any]]:
    return [
        {
            "checkpoint": report.checkpoint,
            "step": report.step,
            "expert_version": report.expert_version,
            "model_folder": report.identity.key.model_folder,
            "id": report.identity.id,
            "archived": archived,
            "outcome": report.outcome.value,
            "reason": report.reason,
            "success_rate": report.test_results.success_rate if report.evaluated else None,
            "interval": _interval(report),
            "weighted": report.test_results.weighted.to_dict() if report.test_results.weighted else None,
            "passed": report.test_results.passed,
            "failed": report.test_results.failed,
            "categories": {name: counts.success_rate for name, counts in report.categories.items()},
            "verdicts": {name: _verdict(entry) for name, entry in report.comparisons.items() if entry.verdict},
            "train_loss": report.training.loss,
            "latency_seconds": report.timing.latency_seconds,
            "previous_checkpoint": report.comparison.previous_checkpoint,
            "new_failures": list(report.comparison.new_failures),
            "fixed_failures": list(report.comparison.fixed_failures),
            "suite_hash": report.identity.suite_hash,
            "decoding_hash": report.identity.decoding_hash,
            "finished_at": report.timing.finished_at,
        }
        for report in sorted(reports, key=_chronology)
    ]


def _verdict(entry: ComparisonEntry) -> dict[str, Any]:
    """What a list of checkpoints shows of a comparison; all of it is in the checkpoint's report."""
    verdict = entry.verdict
    return {
        "word": verdict.word.value if verdict else None,
        "sentence": verdict.sentence if verdict else "",
        "against": entry.against,
        "against_version": entry.against_version,
        "difference": verdict.difference if verdict else None,
        "adjusted_p_value": verdict.adjusted_p_value if verdict else None,
    }


def _versions(current: Sequence[Report], archived: Sequence[Report]) -> list[dict[str, Any]]:
    """Each version of the expert with its last and its best checkpoint, in the order in which they were evaluated.

    Of a checkpoint that was evaluated several times, the newest report counts.
    """
    newest: dict[tuple[str, str, int], Report] = {}
    for report in (*sorted(archived, key=lambda report: report.timing.finished_at), *current):
        if report.evaluated and report.step is not None:
            newest[report.expert_version, report.identity.key.model_folder, report.step] = report
    versions = dict.fromkeys(version for version, *_ in sorted(newest, key=lambda key: newest[key].timing.finished_at))
    described = []
    for version in versions:
        reports = [report for (own, *_), report in newest.items() if own == version]
        last, best = max(reports, key=lambda report: report.step or 0), best_of(reports)
        described.append(
            {
                "expert_version": version,
                "checkpoints": len(reports),
                "last": _named(last),
                "best": _named(best) if best else None,
            }
        )
    return described


def _named(report: Report) -> dict[str, Any]:
    counts = report.test_results
    return {
        "checkpoint": report.checkpoint,
        "model_folder": report.identity.key.model_folder,
        "id": report.identity.id,
        "success_rate": counts.success_rate,
        "interval": _interval(report),
        "passed": counts.passed,
        "failed": counts.failed,
    }


def _interval(report: Report) -> dict[str, Any] | None:
    interval = report.test_results.interval
    return asdict(interval) if interval else None


def _cases(reports: Iterable[Report]) -> dict[str, dict[str, Any]]:
    cases: dict[str, dict[str, Any]] = {}
    for report in sorted(reports, key=_chronology):
        for case in report.test_cases:
            entry = cases.setdefault(case.id, {"name": case.name, "category": case.category, "results": []})
            entry["results"].append(
                {
                    "id": report.identity.id,
                    "checkpoint": report.checkpoint,
                    "expert_version": report.expert_version,
                    "status": case.status.value,
                    "score": case.score,
                    "definition_hash": case.definition_hash,
                }
            )
    return cases


def _chronology(report: Report) -> tuple[str, int, str]:
    return report.expert_version, -1 if report.step is None else report.step, report.timing.finished_at
