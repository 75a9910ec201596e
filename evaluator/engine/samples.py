"""Several answers to one request: asked for as prompts of their own, reported to the caller as one answer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from sidestep.evaluator.cases.exchange import Answer, Decoding
from sidestep.evaluator.engine.plan import Prompt
from sidestep.evaluator.engine.protocol import OnAnswer


def samples_per_prompt(decoding: Decoding) -> int:
    """How many answers to make for each prompt. Greedy answers are all the same, so one is made."""
    return decoding.samples if decoding.temperature > 0 else 1


def expand_samples(prompts: Sequence[Prompt], count: int) -> list[Prompt]:
    """``count`` prompts for each one, numbered by ``sample``; only the first asks for the reference's likelihood."""
    return [
        replace(prompt, sample=number, reference=prompt.reference if number == 0 else ())
        for prompt in prompts
        for number in range(count)
    ]


def collect_samples(count: int, on_answer: OnAnswer) -> OnAnswer:
    """What takes the answers to expanded prompts: it calls ``on_answer`` once all ``count`` of a case are there.

    The answer that is reported is sample 0; the other samples' texts are its ``others``, in order.
    """
    if count == 1:
        return on_answer
    found: dict[str, dict[int, Answer]] = defaultdict(dict)

    def collect(answer: Answer) -> None:
        own = found[answer.case_id]
        own[answer.sample] = answer
        if len(own) == count:
            on_answer(replace(own[0], others=tuple(own[number].text for number in range(1, count))))

    return collect
