"""Swaps with packed weights: a hundred of them leave the base model's answers and every weight as they were."""

from __future__ import annotations

from pathlib import Path

import torch

from sidestep.evaluator.engine.fused import FusedForward
from sidestep.evaluator.engine.layout import Work
from sidestep.evaluator.engine.transformers_engine import TransformersEngine
from tests.unit.evaluator.engine.test_engine import _answers, _requests, _texts

IDS = list(range(7, 40))


def _logits(engine: TransformersEngine) -> torch.Tensor:
    assert engine._fused is not None
    return FusedForward(engine._fused, 1, 64)([Work(0, IDS, len(IDS))])


def test_a_hundred_swaps_leave_no_trace(engine: TransformersEngine, adapters: dict[str, Path]) -> None:
    before = {name: parameter.detach().clone() for name, parameter in engine._model.named_parameters()}
    base, texts = _logits(engine), _texts(_answers(engine, _requests(4)))
    seen = {}
    for number in range(100):
        kind = list(adapters)[number % len(adapters)]
        engine.attach(adapters[kind])
        logits = _logits(engine)
        assert torch.equal(seen.setdefault(kind, logits), logits)
        assert not torch.equal(logits, base)
        engine.detach()
    assert torch.equal(_logits(engine), base)
    assert _texts(_answers(engine, _requests(4))) == texts
    assert all(torch.equal(parameter, before[name]) for name, parameter in engine._model.named_parameters())
