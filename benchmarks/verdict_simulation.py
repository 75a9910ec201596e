"""How often verdicts are wrong where nothing is true, and how often intervals hold the truth.

Simulated trainings go through the same functions as real reports. Every row of the first table is 1,000 trainings in
which no checkpoint differs from any other; the share in which any comparison said better or worse must not be above the
error rate. The last rows are for contrast: what happens without the corrections, and where the cases are not
independent, which no test on cases can know.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sidestep.evaluator import statistics
from sidestep.evaluator.cases.result import NoiseFloor
from sidestep.evaluator.comparing.verdict import Pair, assess_flips
from sidestep.evaluator.results.evidence import Family, VerdictWord

Row = list[bool]  # one checkpoint: which cases passed


@dataclass(frozen=True)
class Scenario:
    """A kind of training without any true difference, and how its checkpoints are compared."""

    name: str
    cases: int = 60
    checkpoints: int = 20
    against: str = "previous"  # previous | best | base
    sticky: float = 0.0  # share of cases that answer as at the checkpoint before
    weighted: bool = False
    noise: float = 0.0  # cases that all pass fail by noise alone, this often
    copies: int = 1  # every case is in the suite so many times
    corrected: bool = True
    limit: float | None = field(default=statistics.ERROR_RATE)  # None: for contrast only


SCENARIOS = (
    Scenario("two checkpoints, 60 cases", checkpoints=2, against="base"),
    Scenario("20 checkpoints against the previous one"),
    Scenario("20 checkpoints against the best so far", against="best"),
    Scenario("20 checkpoints against the base model", against="base"),
    Scenario("100 checkpoints against the previous one", checkpoints=100),
    Scenario("20 checkpoints, 80 % of the answers stay", sticky=0.8),
    Scenario("20 checkpoints, 80 % stay, against the best", sticky=0.8, against="best"),
    Scenario("5 checkpoints, weights from 0.1 to 10", cases=40, checkpoints=5, weighted=True),
    Scenario("5 checkpoints, weights, against the best", cases=40, checkpoints=5, weighted=True, against="best"),
    Scenario("20 checkpoints, 5 % one-sided noise, against base", cases=100, noise=0.05, against="base"),
    Scenario("500 cases, 20 checkpoints against the best", cases=500, against="best"),
    Scenario("contrast: previous, not corrected", corrected=False, limit=None),
    Scenario("contrast: best, not corrected", corrected=False, against="best", limit=None),
    Scenario("contrast: 12 cases that are there 5 times each", copies=5, limit=None),
)


def false_alarm(scenario: Scenario, seed: int) -> bool:
    """Whether any verdict of one simulated training is wrong."""
    draw = random.Random(seed)
    distinct = scenario.cases // scenario.copies
    easiness = [1.0 if scenario.noise else draw.betavariate(0.6, 0.6) for _ in range(distinct)]
    weights = [10 ** draw.uniform(-1, 1) if scenario.weighted else 1.0 for _ in range(distinct)]
    noise = NoiseFloor(scenario.noise, 1_000) if scenario.noise else NoiseFloor()
    rows: list[Row] = [[draw.random() < chance for chance in easiness]]
    for number in range(1, scenario.checkpoints):
        rows.append(_next_row(scenario, draw, easiness, rows[-1]))
        before, family = _comparison(scenario, rows[:-1], number)
        pairs = [
            Pair(str(n), "", weights[n], before[n], rows[-1][n])
            for n in range(distinct)
            for _ in range(scenario.copies)
        ]
        if assess_flips(pairs, family, noise).word is not VerdictWord.UNDECIDED:
            return True
    return False


def _next_row(scenario: Scenario, draw: random.Random, easiness: Sequence[float], last: Row) -> Row:
    """The next checkpoint, which is no better or worse than the last one."""
    if scenario.noise:
        return [draw.random() >= scenario.noise for _ in easiness]
    return [
        old if draw.random() < scenario.sticky else draw.random() < chance
        for chance, old in zip(easiness, last, strict=True)
    ]


def _comparison(scenario: Scenario, earlier: Sequence[Row], number: int) -> tuple[Row, Family]:
    """What the newest checkpoint is compared with, and the family of comparisons it belongs to."""
    single = Family(number=0)
    if scenario.against == "best":
        best = max(reversed(earlier), key=sum)
        return best, Family(number=number, candidates=len(earlier)) if scenario.corrected else single
    before = earlier[0] if scenario.against == "base" else earlier[-1]
    return before, Family(number=number) if scenario.corrected else single


def false_alarm_rate(scenario: Scenario, runs: int, seed: int = 0) -> float:
    """Share of ``runs`` simulated trainings in which any verdict is wrong."""
    return sum(false_alarm(scenario, seed + run) for run in range(runs)) / runs


def coverage(name: str, runs: int, seed: int = 0) -> float:
    """How often the named 95 % interval holds the true value."""
    measure, *numbers = name.split()
    return COVERAGE_MEASURES[measure](random.Random(seed), runs, *map(float, numbers)) / runs


def _wilson(draw: random.Random, runs: int, rate: float, cases: float) -> int:
    held = 0
    for _ in range(runs):
        bounds = statistics.wilson(sum(draw.random() < rate for _ in range(int(cases))), cases)
        held += bounds.low <= rate <= bounds.high
    return held


def _weighted(draw: random.Random, runs: int, rate: float, cases: float) -> int:
    held = 0
    for _ in range(runs):
        weights = [10 ** draw.uniform(-0.5, 0.5) for _ in range(int(cases))]
        seen = sum(weight for weight in weights if draw.random() < rate) / sum(weights)
        count = statistics.effective_cases(weights)
        bounds = statistics.wilson(seen * count, count)
        held += bounds.low <= rate <= bounds.high
    return held


def _difference(draw: random.Random, runs: int, broken: float, fixed: float, cases: float) -> int:
    held = 0
    for _ in range(runs):
        values = [draw.random() for _ in range(int(cases))]
        down = sum(value < broken for value in values)
        up = sum(broken <= value < broken + fixed for value in values)
        bounds = statistics.paired_difference(down, up, cases)
        held += bounds.low <= fixed - broken <= bounds.high
    return held


def _bootstrap(draw: random.Random, runs: int, cases: float) -> int:
    """Score changes as suites have them: most are zero, some cases win or lose much. Their mean is 0.2."""
    held = 0
    for _ in range(runs):
        changes = [draw.choices((0.0, 4.0, -2.0, 10.0), (0.8, 0.1, 0.15, 0.01))[0] for _ in range(int(cases))]
        bounds = statistics.bootstrap_mean(changes, [1.0] * len(changes))
        held += bounds is not None and bounds.low <= 0.2 / 1.06 <= bounds.high
    return held


COVERAGE_MEASURES: dict[str, Callable[..., int]] = {
    "wilson": _wilson,
    "weighted": _weighted,
    "difference": _difference,
    "bootstrap": _bootstrap,
}
INTERVALS = (
    "wilson 0.1 20", "wilson 0.5 20", "wilson 0.9 60", "wilson 0.98 60", "wilson 0.7 500", "weighted 0.5 60",
    "weighted 0.9 60", "weighted 0.7 300", "difference 0.05 0.05 60", "difference 0.02 0.15 60",
    "difference 0.0 0.03 60", "difference 0.1 0.1 500", "bootstrap 60", "bootstrap 300",
)  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    print(f"{arguments.runs} trainings without a true difference; error rate {statistics.ERROR_RATE:.0%}")
    exceeded = False
    for scenario in SCENARIOS:
        rate = false_alarm_rate(scenario, arguments.runs, arguments.seed)
        exceeded |= scenario.limit is not None and rate > scenario.limit
        print(f"  {scenario.name:50} {rate:6.1%} {'' if scenario.limit is not None else '(no promise)'}", flush=True)
    print("how often 95 % intervals hold the truth (name, true values, cases)")
    for name in INTERVALS:
        print(f"  {name:50} {coverage(name, arguments.runs, arguments.seed):6.1%}", flush=True)
    return int(exceeded)


if __name__ == "__main__":
    sys.exit(main())
