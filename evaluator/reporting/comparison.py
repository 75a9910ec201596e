"""Which cases a checkpoint newly broke and newly fixed, against whom, and what could not be compared. Pure.

A case that failed now and passed before is newly broken; the other way round, newly fixed. A score that moved by more
than 1.0 without such a flip is improved or regressed: a case counts once. Cases that are unscored or ``may_fail`` on
either side, and cases whose definition changed, are not compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from evaluator.reporting.report import CaseEntry, ComparisonEntry, LegacyComparison, Report
from evaluator.results import CaseStatus

SCORE_MOVE = 1.0
_DECIDED = (CaseStatus.PASSED, CaseStatus.FAILED)


def compare(before: Report, after: Report) -> ComparisonEntry:
    """What changed from ``before`` to ``after``, over the cases that both decided in the same way."""
    pairs = comparable_pairs(before, after)
    broken = [new.id for old, new in pairs if old.status is CaseStatus.PASSED and new.status is CaseStatus.FAILED]
    fixed = [new.id for old, new in pairs if old.status is CaseStatus.FAILED and new.status is CaseStatus.PASSED]
    moved = [(new.id, (new.score or 0.0) - (old.score or 0.0)) for old, new in pairs if old.status is new.status]
    return ComparisonEntry(
        against=before.checkpoint,
        against_version=before.expert_version,
        rate_before=_rate(old for old, _ in pairs),
        rate_after=_rate(new for _, new in pairs),
        compared_cases=len(pairs),
        new_failures=tuple(broken),
        fixed_failures=tuple(fixed),
        improved_tests=tuple(case for case, by in moved if by > SCORE_MOVE),
        regressed_tests=tuple(case for case, by in moved if by < -SCORE_MOVE),
        notes=notes_on(before, after, len(pairs)),
    )


def comparable_pairs(before: Report, after: Report) -> list[tuple[CaseEntry, CaseEntry]]:
    """Cases decided in both reports under the same definition, in the order of ``after``."""
    old = {case.id: case for case in before.test_cases}
    return [
        (old[new.id], new)
        for new in after.test_cases
        if new.id in old
        and old[new.id].definition_hash == new.definition_hash
        and old[new.id].status in _DECIDED
        and new.status in _DECIDED
    ]


def notes_on(before: Report, after: Report, compared: int) -> tuple[str, ...]:
    """What a reader must know before believing the comparison."""
    notes = []
    if before.identity.suite_hash != after.identity.suite_hash:
        notes.append(f"the test cases differ: {compared} unchanged cases are compared")
    if before.identity.decoding_hash != after.identity.decoding_hash:
        notes.append("the decoding settings differ: a flip may come from them")
    for name in ("dtype", "device", "base_fingerprint"):
        old, new = getattr(before.environment, name), getattr(after.environment, name)
        if old != new:
            shown = "" if name == "base_fingerprint" else f" ({old} before, {new} now)"
            notes.append(f"the {name.replace('_', ' ')} differs{shown}: a flip may come from it")
    return tuple(notes)


def previous_of(report: Report, others: Iterable[Report]) -> Report | None:
    """The evaluated checkpoint of the same version and model with the nearest lower step."""
    lower = [each for each in others if _is_same_line(each, report) and _step(each) < _step(report)]
    return max(lower, key=_step, default=None)


def best_before(report: Report, others: Iterable[Report]) -> Report | None:
    """The highest success rate among earlier checkpoints of the same version and model; the later one among equals."""
    lower = [each for each in others if _is_same_line(each, report) and _step(each) < _step(report)]
    return max(lower, key=lambda each: (each.test_results.success_rate, _step(each)), default=None)


def base_of(report: Report, others: Iterable[Report]) -> Report | None:
    """The base model's report under the same test cases and decoding, else any of it."""
    bases = [each for each in others if each.step is None and each.evaluated]
    same = [each for each in bases if _conditions(each) == _conditions(report)]
    return next(iter(same or bases), None)


def previous_version_of(report: Report, others: Sequence[Report]) -> Report | None:
    """The last checkpoint of the version that was evaluated most recently before this one's version."""
    foreign = [
        each
        for each in others
        if each.step is not None and each.evaluated and each.expert_version != report.expert_version
    ]
    own = [each for each in others if each.expert_version == report.expert_version]
    began = min((each.timing.finished_at for each in (*own, report)), default="")
    earlier = [each for each in foreign if each.timing.finished_at < began] or foreign
    if not earlier:
        return None
    version = max(earlier, key=lambda each: each.timing.finished_at).expert_version
    return max((each for each in earlier if each.expert_version == version), key=_step)


def with_comparisons(report: Report, others: Sequence[Report]) -> Report:
    """The report with both comparison blocks as they follow from all other reports."""
    if not report.evaluated or report.step is None:
        return report
    chosen = {
        "previous": previous_of(report, others),
        "best": best_before(report, others),
        "base": base_of(report, others),
        "previous_version": previous_version_of(report, others),
    }
    comparisons = {name: compare(before, report) for name, before in chosen.items() if before}
    return report.model_copy(
        update={"comparisons": comparisons, "comparison": _legacy(comparisons.get("previous"))},
    )


def _legacy(previous: ComparisonEntry | None) -> LegacyComparison:
    if previous is None:
        return LegacyComparison()
    return LegacyComparison(
        previous_checkpoint=previous.against,
        improvements=len(previous.fixed_failures) + len(previous.improved_tests),
        regressions=len(previous.new_failures) + len(previous.regressed_tests),
        new_failures=previous.new_failures,
        fixed_failures=previous.fixed_failures,
        improved_tests=previous.improved_tests,
        regressed_tests=previous.regressed_tests,
    )


def _is_same_line(other: Report, report: Report) -> bool:
    return (
        other.evaluated
        and other.step is not None
        and other.expert_version == report.expert_version
        and other.identity.model_folder == report.identity.model_folder
    )


def _conditions(report: Report) -> tuple[str, str]:
    return report.identity.suite_hash, report.identity.decoding_hash


def _step(report: Report) -> int:
    return -1 if report.step is None else report.step


def _rate(cases: Iterable[CaseEntry]) -> float:
    passed = [case.status is CaseStatus.PASSED for case in cases]
    return sum(passed) / len(passed) if passed else 0.0
