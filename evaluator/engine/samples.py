"""Several answers to one request: asked for as prompts of their own, told to the caller as one answer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from sidestep.evaluator.cases.exchange import Answer, Decoding
from sidestep.evaluator.engine.plan import Prompt
from sidestep.evaluator.engine.protocol import OnAnswer


def gathering(prompts: Sequence[Prompt], decoding: Decoding, on_answer: OnAnswer) -> tuple[list[Prompt], OnAnswer]:
    """The prompts of all samples, and what takes their answers: it calls ``on_answer`` once all of a case are there.

    Greedy answers are all the same, so there only one is made.
    """
    wanted = decoding.samples if decoding.temperature > 0 else 1
    if wanted == 1:
        return list(prompts), on_answer
    found: dict[str, dict[int, Answer]] = defaultdict(dict)

    def gather(answer: Answer) -> None:
        own = found[answer.case_id]
        own[answer.sample] = answer
        if len(own) == wanted:
            on_answer(replace(own[0], others=tuple(own[number].text for number in range(1, wanted))))

    every = [
        replace(prompt, sample=number, reference=prompt.reference if number == 0 else ())
        for prompt in prompts
        for number in range(wanted)
    ]
    return every, gather
