"""Sidestep's engine, resident: attach, answer, detach."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from peer_protocol import serve

from sidestep.evaluator.cases.case import Message
from sidestep.evaluator.cases.exchange import Answer, Decoding, Request
from sidestep.evaluator.engine.transformers_engine import create
from sidestep.evaluator.settings import EngineSettings


def start(job: dict[str, Any]) -> Any:
    engine = create(EngineSettings(job["base"], device="cpu", dtype=job["dtype"]))
    requests = [
        Request(str(number), tuple(Message(role, text) for role, text in messages))
        for number, messages in enumerate(job["messages"])
    ]
    decoding = Decoding(max_new_tokens=job["max_new_tokens"])

    def evaluate(checkpoint: str) -> tuple[float, list[str]]:
        answers: list[Answer] = []
        engine.attach(Path(checkpoint))
        began = time.perf_counter()
        engine.answer(requests, decoding, answers.append, lambda tokens: None)
        generation = time.perf_counter() - began
        engine.detach()
        texts = {answer.case_id: answer.text for answer in answers}
        return generation, [texts[request.case_id] for request in requests]

    return evaluate


serve(start)
