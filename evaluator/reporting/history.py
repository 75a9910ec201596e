"""``comparison.json``: the history of every case over all checkpoints and versions. A pure function of all reports."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from evaluator.reporting.report import Report

SCHEMA_VERSION = 1


def history_document(current: Sequence[Report], archived: Sequence[Report]) -> dict[str, Any]:
    """The whole document; deleting the file loses nothing.

    ``archived`` reports have been replaced by later ones (an earlier version, run or suite), and are marked so.
    """
    entries = [*_checkpoints(archived, True), *_checkpoints(current, False)]
    evaluated = [report for report in current if report.evaluated and report.step is not None]
    best = max(evaluated, key=lambda each: (each.test_results.success_rate, each.step or 0), default=None)
    return {
        "schema_version": SCHEMA_VERSION,
        "best_checkpoint": best.checkpoint if best else None,
        "checkpoints": entries,
        "cases": _cases((*archived, *current)),
    }


def _checkpoints(reports: Iterable[Report], archived: bool) -> list[dict[str, Any]]:
    return [
        {
            "checkpoint": report.checkpoint,
            "step": report.step,
            "expert_version": report.expert_version,
            "model_folder": report.identity.model_folder,
            "id": report.identity.id,
            "archived": archived,
            "outcome": report.outcome.value,
            "reason": report.reason,
            "success_rate": report.test_results.success_rate if report.evaluated else None,
            "passed": report.test_results.passed,
            "failed": report.test_results.failed,
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
