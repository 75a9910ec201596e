"""Swaps with packed weights: a hundred of them leave the base model's answers and every weight as they were."""

from __future__ import annotations

from pathlib import Path

import torch

from sidestep.evaluator.engine.fused import FusedForward
from sidestep.evaluator.engine.layout import Chunk
from sidestep.evaluator.engine.transformers_engine import TransformersEngine
from tests.fakes.engine_requests import answers_of, random_requests, texts_of

IDS = list(range(7, 40))


def _logits(engine: TransformersEngine) -> torch.Tensor:
    assert engine._fused is not None
    return FusedForward(engine._fused, 1, 64)([Chunk(0, IDS, len(IDS))])


def test_a_hundred_swaps_leave_no_trace(engine: TransformersEngine, adapters: dict[str, Path]) -> None:
    before = {name: parameter.detach().clone() for name, parameter in engine.model.named_parameters()}
    base, texts = _logits(engine), texts_of(answers_of(engine, random_requests(4)))
    seen: dict[str, torch.Tensor] = {}
    for number in range(100):
        kind = list(adapters)[number % len(adapters)]
        engine.attach(adapters[kind])
        logits = _logits(engine)
        assert torch.equal(seen.setdefault(kind, logits), logits)
        assert not torch.equal(logits, base)
        engine.detach()
    assert torch.equal(_logits(engine), base)
    assert texts_of(answers_of(engine, random_requests(4))) == texts
    assert all(torch.equal(parameter, before[name]) for name, parameter in engine.model.named_parameters())
