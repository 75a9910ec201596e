"""From the cases of two reports to a verdict in words, with the numbers behind it. Pure.

What is promised (docs/verdicts.md): in a training in which nothing really changes, the chance that any of its
checkpoints is ever called better or worse, in one kind of comparison, is at most the error rate of 5 %.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from sidestep.evaluator import statistics
from sidestep.evaluator.cases.result import NoiseFloor
from sidestep.evaluator.results.evidence import CategoryChange, Family, MeasureEntry, VerdictEntry, VerdictWord
from sidestep.evaluator.statistics import ERROR_RATE, Interval
from sidestep.shared.files import to_json_line

STATISTICS_VERSION = 1  # part of a verdict's basis: raised when the same cases would get another verdict


class Pair(NamedTuple):
    """One case in two reports. Scores are 0..10, log-probabilities natural and per token."""

    case: str
    category: str
    weight: float
    passed_before: bool
    passed_after: bool
    score_before: float | None = None
    score_after: float | None = None
    logprob_before: float | None = None
    logprob_after: float | None = None

    @property
    def flip(self) -> int:
        """1: fixed, -1: broken, 0: as before."""
        return int(self.passed_after) - int(self.passed_before)


@dataclass(frozen=True)
class Assessment:
    """All that is said about one difference: the members of a ComparisonEntry of the same names."""

    verdict: VerdictEntry
    score: MeasureEntry | None
    likelihood: MeasureEntry | None
    categories: dict[str, CategoryChange]


def flip_rate_bound(noise: NoiseFloor) -> float:
    """The rate of flips by noise that counts: the upper end of what was measured; 0 where nobody measured it."""
    return 0.0 if noise.flip_rate is None else statistics.flip_rate_bound(noise.flip_rate, noise.cases)


def basis_of(pairs: Sequence[Pair], family: Family, noise: NoiseFloor) -> str:
    """Names everything that a verdict follows from, so that one that is known need not be worked out again."""
    content = [STATISTICS_VERSION, family, (noise.flip_rate, noise.cases), pairs]
    return hashlib.sha256(to_json_line(content)).hexdigest()[:32]


def assess_difference(pairs: Sequence[Pair], family: Family, noise: NoiseFloor) -> Assessment:
    """Verdict on the passed cases, and the same for scores, likelihood and categories, each on its own error rate."""
    share = share_of(family)
    verdict = assess_flips(pairs, family, noise)
    return Assessment(
        verdict=replace(verdict, basis=basis_of(pairs, family, noise)),
        score=_measure([(p.score_before, p.score_after, p.weight) for p in pairs], share),
        likelihood=_measure([(p.logprob_before, p.logprob_after, p.weight) for p in pairs], share),
        categories=_categories(pairs, share, noise),
    )


def share_of(family: Family) -> float:
    """What part of the error rate this comparison may use."""
    return statistics.share_of_error_rate(family.number) / max(1, family.candidates)


def assess_flips(pairs: Sequence[Pair], family: Family, noise: NoiseFloor) -> VerdictEntry:
    """The verdict on passed and failed cases alone."""
    share = share_of(family)
    flips = [pair.flip for pair in pairs]
    broken, fixed = flips.count(-1), flips.count(1)
    weights = [pair.weight for pair in pairs]
    is_weighted = len(set(weights)) > 1
    difference = sum(flip * weight for flip, weight in zip(flips, weights, strict=True)) / (sum(weights) or 1)
    p_value = _flips_p(flips, weights, is_weighted)
    one_way = fixed if difference > 0 else broken
    p_value = _beyond_noise(p_value, one_way, len(pairs), noise)
    adjusted = min(1.0, p_value / share)
    word = _word(adjusted, difference)
    entry = VerdictEntry(
        word=word,
        difference=difference,
        interval=_difference_interval(flips, weights),
        p_value=p_value,
        adjusted_p_value=adjusted,
        test="sign-flip permutation" if is_weighted else "exact McNemar",
        error_rate=ERROR_RATE,
        family=family,
        expected_noise_flips=None if noise.flip_rate is None else flip_rate_bound(noise) * len(pairs),
        flips_needed=statistics.flips_needed(ERROR_RATE * share),
        cases_needed=None
        if word is not VerdictWord.UNDECIDED
        else statistics.cases_needed(broken, fixed, len(pairs), ERROR_RATE * share),
    )
    return replace(entry, sentence=_sentence(entry, broken, fixed, len(pairs)))


def _flips_p(flips: Sequence[int], weights: Sequence[float], is_weighted: bool) -> float:
    if is_weighted:
        return statistics.sign_flip_p([flip * weight for flip, weight in zip(flips, weights, strict=True)])
    return statistics.mcnemar_p(flips.count(-1), flips.count(1))


def _beyond_noise(p_value: float, one_way: int, cases: int, noise: NoiseFloor) -> float:
    """Both must be improbable: so uneven a split of the flips, and so many in one direction from noise alone."""
    return max(p_value, statistics.noise_p(one_way, cases, flip_rate_bound(noise))) if one_way else p_value


def _difference_interval(flips: Sequence[int], weights: Sequence[float]) -> Interval | None:
    """Of the difference in (weighted) success rates; weights reduce the number of cases that count."""
    if not flips:
        return None
    total, count = sum(weights), statistics.effective_cases(weights)
    broken = sum(weight for flip, weight in zip(flips, weights, strict=True) if flip < 0) / total * count
    fixed = sum(weight for flip, weight in zip(flips, weights, strict=True) if flip > 0) / total * count
    return statistics.paired_difference(broken, fixed, count)


def _measure(values: Sequence[tuple[float | None, float | None, float]], share: float) -> MeasureEntry | None:
    """The mean change of a measure over the cases that have it on both sides; None where there is none."""
    known = [(before, after, weight) for before, after, weight in values if before is not None and after is not None]
    if not known:
        return None
    changes = [after - before for before, after, _ in known]
    weights = [weight for *_, weight in known]
    difference = sum(change * weight for change, weight in zip(changes, weights, strict=True)) / sum(weights)
    p_value = statistics.sign_flip_p([change * weight for change, weight in zip(changes, weights, strict=True)])
    adjusted = min(1.0, p_value / share)
    return MeasureEntry(
        word=_word(adjusted, difference),
        difference=difference,
        interval=statistics.bootstrap_mean(changes, weights),
        p_value=p_value,
        adjusted_p_value=adjusted,
        cases=len(known),
    )


def _categories(pairs: Sequence[Pair], share: float, noise: NoiseFloor) -> dict[str, CategoryChange]:
    """Each category's flips; that there are several is accounted for, so that any false claim stays improbable."""
    groups: dict[str, list[Pair]] = {}
    for pair in pairs:
        groups.setdefault(pair.category, []).append(pair)
    flips = {name: [pair.flip for pair in group] for name, group in groups.items()}
    p_values = [_category_p(group, noise) for group in flips.values()]
    adjusted = [min(1.0, p_value / share) for p_value in statistics.hochberg(p_values)]
    return {
        name: CategoryChange(
            word=_word(adjusted[number], sum(flips[name])),
            compared_cases=len(group),
            rate_before=sum(pair.passed_before for pair in group) / len(group),
            rate_after=sum(pair.passed_after for pair in group) / len(group),
            broken=flips[name].count(-1),
            fixed=flips[name].count(1),
            p_value=p_values[number],
            adjusted_p_value=adjusted[number],
        )
        for number, (name, group) in enumerate(groups.items())
    }


def _category_p(flips: Sequence[int], noise: NoiseFloor) -> float:
    broken, fixed = flips.count(-1), flips.count(1)
    return _beyond_noise(statistics.mcnemar_p(broken, fixed), max(broken, fixed), len(flips), noise)


def _word(adjusted: float, difference: float) -> VerdictWord:
    if adjusted > ERROR_RATE or difference == 0:
        return VerdictWord.UNDECIDED
    return VerdictWord.BETTER if difference > 0 else VerdictWord.WORSE


def _sentence(entry: VerdictEntry, broken: int, fixed: int, cases: int) -> str:
    """The verdict as one line for people."""
    if not cases:
        return f"{entry.word}: no case was decided in both"
    counted = f"{broken} broken and {fixed} fixed of {cases} cases"
    shown = _p(entry.p_value)
    if entry.adjusted_p_value > entry.p_value:
        shown += f"; {_p(entry.adjusted_p_value)} as one of many comparisons"
    parts = [f"{entry.word}: {counted} ({shown})"]
    if entry.expected_noise_flips:
        parts.append(f"noise alone flips up to {entry.expected_noise_flips:.1f}")
    if entry.cases_needed:
        parts.append(f"about {entry.cases_needed:,} cases would be needed to show a difference like this")
    if entry.word is VerdictWord.UNDECIDED and cases < entry.flips_needed:
        parts.append(f"fewer than {entry.flips_needed} cases can show none at all")
    return "; ".join(parts)


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.2g}"
