"""How often answers to the same questions differ from themselves: the noise that a comparison has to exceed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sidestep.evaluator.cases.exchange import Answer, Decoding, Request
from sidestep.evaluator.cases.result import CaseStatus, NoiseFloor
from sidestep.evaluator.engine.protocol import Engine, OnStep

NOISE_CASES = 32  # answered twice where answers may depend on the batch
NOISE_BATCH = 3  # cases at a time, the second time


def measure_noise(
    engine: Engine,
    requests: Sequence[Request],
    decoding: Decoding,
    on_step: OnStep,
    *,
    first: Mapping[str, CaseStatus],
    score: Callable[[Answer], CaseStatus],
) -> NoiseFloor:
    """Answer some of the requests again and count the cases whose status is not the ``first`` one, by their ids.

    They are answered alone or nearly so, and without the whole suite's plan: as different a layout as there is.
    """
    again = noise_sample(requests)
    if not again:
        return NoiseFloor()
    flipped: list[str] = []

    def compare(answer: Answer) -> None:
        if score(answer) is not first[answer.case_id]:
            flipped.append(answer.case_id)

    for start in range(0, len(again), NOISE_BATCH):
        engine.answer(again[start : start + NOISE_BATCH], decoding, compare, on_step)
    how = f"measured: the same cases again, {NOISE_BATCH} at a time"
    return NoiseFloor(len(flipped) / len(again), len(again), how)


def noise_sample(requests: Sequence[Request]) -> list[Request]:
    """At most NOISE_CASES requests, spread over the suite. Pure."""
    step = max(1, -(-len(requests) // NOISE_CASES))
    return list(requests[::step])
