"""Requests for the real engine and its answers to them, for every test that compares answers."""

from __future__ import annotations

import random
from collections.abc import Sequence

from sidestep.evaluator.cases.case import Message
from sidestep.evaluator.cases.exchange import Answer, Decoding, Request
from sidestep.evaluator.engine.protocol import Engine

WORDS = (
    "select", "count", "from", "where", "group", "order", "by", "customers", "products", "price", "stock", "city",
    "year",
)  # fmt: skip
GREEDY = Decoding(max_new_tokens=24)


def random_requests(count: int) -> list[Request]:
    """Requests ``case-00``, ``case-01``, ... of 1 to 30 random words, the same ones in every call."""
    chooser = random.Random(7)
    return [
        Request(f"case-{n:02}", (Message("user", " ".join(chooser.choices(WORDS, k=chooser.randint(1, 30)))),))
        for n in range(count)
    ]


def answers_of(
    engine: Engine, requests: Sequence[Request], decoding: Decoding = GREEDY, plan_for: Sequence[Request] = ()
) -> dict[str, Answer]:
    """The engine's answers by case id."""
    found: dict[str, Answer] = {}
    engine.answer(
        requests, decoding, lambda answer: found.update({answer.case_id: answer}), lambda tokens: None, plan_for
    )
    return found


def texts_of(answers: dict[str, Answer]) -> dict[str, str]:
    """The answers' texts by case id."""
    return {case: answer.text for case, answer in answers.items()}
