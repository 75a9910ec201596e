"""Which cases a checkpoint newly broke and newly fixed, against whom, with what verdict. Pure.

A case that failed now and passed before is newly broken; the other way round, newly fixed. A score that moved by more
than 1.0 without such a flip is improved or regressed: a case counts once. Cases that are unscored or ``may_fail`` on
either side, and cases whose definition changed, are not compared.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from sidestep.evaluator.cases.result import CaseResult, CaseStatus, NoiseFloor
from sidestep.evaluator.comparing.verdict import Pair, assess_difference, assess_flips, basis_of, flip_rate_bound
from sidestep.evaluator.results.evidence import Family
from sidestep.evaluator.results.report import ComparisonEntry, LegacyComparison, Report

SCORE_MOVE = 1.0
SINGLE = Family(number=0)  # a comparison that somebody asked for, and not one of many that were made anyway
_MAY_FAIL = (CaseStatus.EXPECTED_FAILURE, CaseStatus.UNEXPECTED_PASS)


def compare(
    before: Report,
    after: Report,
    family: Family = SINGLE,
    known: ComparisonEntry | None = None,
    *,
    measures: bool = True,
) -> ComparisonEntry:
    """What changed from ``before`` to ``after``, over the cases that both decided in the same way, and the verdict.

    The verdict is taken from ``known`` where that one follows from the same cases. Without ``measures`` only passed and
    failed are assessed, which costs next to nothing.
    """
    cases = comparable_pairs(before, after)
    broken = [new.id for old, new in cases if old.status is CaseStatus.PASSED and new.status is CaseStatus.FAILED]
    fixed = [new.id for old, new in cases if old.status is CaseStatus.FAILED and new.status is CaseStatus.PASSED]
    moved = [(new.id, compared_score(new) - compared_score(old)) for old, new in cases if old.status is new.status]
    surprises = _changed_may_fail(before, after)
    entry = ComparisonEntry(
        against=before.checkpoint,
        against_id=before.identity.id,
        against_version=before.expert_version,
        rate_before=_rate(old for old, _ in cases),
        rate_after=_rate(new for _, new in cases),
        compared_cases=len(cases),
        new_failures=tuple(broken),
        fixed_failures=tuple(fixed),
        improved_tests=tuple(case for case, by in moved if by > SCORE_MOVE),
        regressed_tests=tuple(case for case, by in moved if by < -SCORE_MOVE),
        notes=notes_on(before, after, len(cases)),
        unexpected_passes=tuple(case for case, status in surprises if status is CaseStatus.UNEXPECTED_PASS),
        expected_failures=tuple(case for case, status in surprises if status is CaseStatus.EXPECTED_FAILURE),
    )
    pairs, noise = [_pair(old, new) for old, new in cases], _noise(before, after)
    if not measures:
        return replace(entry, verdict=assess_flips(pairs, family, noise))
    if known and known.verdict and known.verdict.basis == basis_of(pairs, family, noise):
        return replace(
            entry, verdict=known.verdict, score=known.score, likelihood=known.likelihood, categories=known.categories
        )
    return replace(entry, **vars(assess_difference(pairs, family, noise)))


def _pair(old: CaseResult, new: CaseResult) -> Pair:
    return Pair(
        case=new.id,
        category=new.category,
        weight=new.weight,
        passed_before=old.status is CaseStatus.PASSED,
        passed_after=new.status is CaseStatus.PASSED,
        score_before=_finite(old.score),
        score_after=_finite(new.score),
        logprob_before=_finite(old.reference_logprob),
        logprob_after=_finite(new.reference_logprob),
    )


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _noise(before: Report, after: Report) -> NoiseFloor:
    """The noisier of the two measurements; unknown where neither was measured."""
    measured = [noise for noise in (before.noise, after.noise) if noise.flip_rate is not None]
    return max(measured, key=flip_rate_bound, default=NoiseFloor())


def _changed_may_fail(before: Report, after: Report) -> list[tuple[str, CaseStatus]]:
    """Cases marked ``may_fail`` that ended the other way round."""
    old = {case.id: case.status for case in before.test_cases}
    return [
        (new.id, new.status)
        for new in after.test_cases
        if new.status in _MAY_FAIL and old.get(new.id) in _MAY_FAIL and old[new.id] is not new.status
    ]


def comparable_pairs(before: Report, after: Report) -> list[tuple[CaseResult, CaseResult]]:
    """Cases decided in both reports under the same definition, in the order of ``after``."""
    old = {case.id: case for case in before.test_cases}
    return [
        (old[new.id], new)
        for new in after.test_cases
        if new.id in old
        and is_same_definition(old[new.id].definition_hash, new.definition_hash)
        and old[new.id].status.is_decided
        and new.status.is_decided
    ]


def is_same_definition(old: str, new: str) -> bool:
    """Whether two definition hashes are of the same case. The host's old reports have none; there the id has to do."""
    return old == new or not (old and new)


def interchangeable_definitions(hashes: Collection[str]) -> list[tuple[str, str]]:
    """The pairs of different definition hashes among these that are compared nonetheless (`is_same_definition`)."""
    return [("", other) for other in hashes if other] if "" in hashes else []


def compared_score(case: CaseResult) -> float:
    """What a case's score counts for where scores are compared, 0..10: one without a score counts as 0."""
    return case.score or 0.0


def notes_on(before: Report, after: Report, compared: int) -> tuple[str, ...]:
    """What a reader must know before believing the comparison."""
    notes = []
    if any(not case.definition_hash for case in before.test_cases):
        notes.append("the earlier report does not say how its cases were defined: they are compared by their ids")
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


def earlier(report: Report, others: Iterable[Report]) -> list[Report]:
    """The evaluated checkpoints of the same version and model with lower steps."""
    return [other for other in others if _is_same_line(other, report) and _step(other) < _step(report)]


def best_of(candidates: Iterable[Report], like: Report | None = None) -> Report | None:
    """The highest rate, the later one among equals; only among those under ``like``'s test cases, if there are any."""
    found = list(candidates)
    same = [report for report in found if like and _conditions(report) == _conditions(like)]
    return max(same or found, key=lambda report: (report.test_results.rate, _step(report)), default=None)


def base_of(report: Report, others: Iterable[Report]) -> Report | None:
    """The base model's report under the same test cases and decoding, else any of it."""
    bases = [other for other in others if other.step is None and other.evaluated]
    same = [base for base in bases if _conditions(base) == _conditions(report)]
    return next(iter(same or bases), None)


def previous_version(report: Report, others: Sequence[Report]) -> list[Report]:
    """The checkpoints of the version that was evaluated most recently before this one's version.

    Of a checkpoint that was evaluated several times, the newest report counts.
    """
    checkpoints = [other for other in others if other.step is not None]
    own = [other for other in checkpoints if other.expert_version == report.expert_version]
    foreign = [other for other in checkpoints if other.evaluated and other.expert_version != report.expert_version]
    began = min(other.timing.finished_at for other in (*own, report))
    before = [other for other in foreign if other.timing.finished_at < began] or foreign
    if not before:
        return []
    folder = report.identity.key.model_folder
    same = [other for other in before if other.identity.key.model_folder == folder]
    before = sorted(same or before, key=lambda other: other.timing.finished_at)
    version = before[-1].expert_version
    newest = {
        (other.identity.key.model_folder, other.step): other for other in before if other.expert_version == version
    }
    return list(newest.values())


def with_comparisons(report: Report, others: Sequence[Report]) -> Report:
    """The report with both comparison blocks as they follow from all other reports."""
    if not report.evaluated or report.step is None:
        return report
    lower, old = earlier(report, others), previous_version(report, others)
    number = len(lower) + 1
    chosen: dict[str, tuple[Report | None, Family]] = {
        "previous": (max(lower, key=_step, default=None), Family(number=len(lower))),
        "best": (best_of(lower, report), Family(number=len(lower), candidates=len(lower))),
        "base": (base_of(report, others), Family(number=number)),
        "previous_version": (max(old, key=_step, default=None), Family(number=number)),
        "previous_version_best": (best_of(old, report), Family(number=number, candidates=len(old))),
    }
    comparisons = {
        name: compare(before, report, family, report.comparisons.get(name))
        for name, (before, family) in chosen.items()
        if before
    }
    return replace(report, comparisons=comparisons, comparison=_legacy(comparisons.get("previous")))


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
        and other.identity.key.model_folder == report.identity.key.model_folder
    )


def _conditions(report: Report) -> tuple[str, str]:
    return report.identity.suite_hash, report.identity.decoding_hash


def _step(report: Report) -> int:
    return -1 if report.step is None else report.step


def _rate(cases: Iterable[CaseResult]) -> float:
    passed = [case.status is CaseStatus.PASSED for case in cases]
    return sum(passed) / len(passed) if passed else 0.0
