"""Quantized bases: adapters stay beside them, their answers are PEFT's, and nothing stays behind."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from sidestep.evaluator.engine.layout import Chunk
from sidestep.evaluator.engine.quantization import bitsandbytes_config
from sidestep.evaluator.engine.transformers_engine import TransformersEngine, create
from sidestep.evaluator.settings import EngineSettings
from sidestep.shared.errors import BaseModelMismatch, ConfigError
from sidestep.shared.quantized_weights import keep_exact
from tests.fakes.engine_requests import answers_of, random_requests, texts_of

IDS = list(range(7, 40))


@pytest.fixture(scope="module", params=["int8", "int4"])
def quantized(request: pytest.FixtureRequest, base_model: Path) -> tuple[TransformersEngine, str]:
    pytest.importorskip("bitsandbytes")
    return create(
        EngineSettings(str(base_model), device="cpu", dtype="float32", quantization=request.param)
    ), request.param


def _logits(engine: TransformersEngine) -> torch.Tensor:
    from sidestep.evaluator.engine.ragged import RaggedForward

    return RaggedForward(engine.model, 1, 64, 4)([Chunk(0, IDS, len(IDS))])


def test_adapters_beside_a_quantized_base(
    quantized: tuple[TransformersEngine, str], base_model: Path, adapters: dict[str, Path]
) -> None:
    engine, kind = quantized
    base, texts = _logits(engine), texts_of(answers_of(engine, random_requests(3)))
    modules = [type(module) for module in engine.model.modules()]
    for _ in range(3):
        engine.attach(adapters["lora"])
        logits = _logits(engine)
        engine.detach()
    assert torch.equal(_logits(engine), base)
    assert [type(module) for module in engine.model.modules()] == modules
    assert texts_of(answers_of(engine, random_requests(3))) == texts
    model = AutoModelForCausalLM.from_pretrained(
        base_model, dtype=torch.float32, quantization_config=bitsandbytes_config(kind, torch.float32), device_map="cpu"
    )
    keep_exact(model.modules())
    with torch.no_grad():
        wanted = PeftModel.from_pretrained(model, adapters["lora"]).eval()(torch.tensor([IDS])).logits[0]
    assert (logits - wanted).abs().max() < 0.02 * wanted.std()
    assert (logits - base).abs().max() > 0.1 * wanted.std()
    assert not engine.info.exact and any("quantized" in note for note in engine.info.notes)


def test_full_weights_are_refused(quantized: tuple[TransformersEngine, str], base_model: Path) -> None:
    with pytest.raises(BaseModelMismatch, match="quantized"):
        quantized[0].attach(base_model)


def test_without_bitsandbytes_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="bitsandbytes"):
        bitsandbytes_config("int4", torch.float32)
