"""pass@k: how likely one of k sampled answers passes, from the n that were drawn. Pure.

The unbiased estimator of Chen et al., Evaluating Large Language Models Trained on Code (2021), section 2.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import comb
from statistics import mean

from sidestep.evaluator.cases.result import CaseResult, CaseStatus


def pass_at_k(cases: Sequence[CaseResult]) -> dict[str, float]:
    """Mean pass@k over the decided cases with several samples, for k = 1, 2, 4, … and all; empty without samples."""
    sampled = [case for case in cases if case.samples and case.status.is_decided]
    if not sampled:
        return {}
    drawn = min(1 + len(case.samples) for case in sampled)
    wanted = sorted({1, drawn, *(2**power for power in range(1, drawn.bit_length()) if 2**power < drawn)})
    return {str(k): mean(estimate(1 + len(case.samples), _passed(case), k) for case in sampled) for k in wanted}


def estimate(drawn: int, passed: int, k: int) -> float:
    """1 minus the chance that k of the drawn answers, taken without putting back, all fail."""
    return 1.0 - comb(drawn - passed, k) / comb(drawn, k)


def _passed(case: CaseResult) -> int:
    return int(case.status is CaseStatus.PASSED) + sum(bool(sample.passed) for sample in case.samples)
