"""The arithmetic does not depend on the layout: random ones, shared beginnings, likelihood, samples, other models."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from peft import PromptTuningConfig, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from sidestep.evaluator.cases.case import Message
from sidestep.evaluator.cases.exchange import Decoding
from sidestep.evaluator.engine.fused import FusedForward, FusedModel, logit_difference, why_unsupported
from sidestep.evaluator.engine.layout import Chunk, padded_width, split_into_bands
from sidestep.evaluator.engine.plan import Prompt
from sidestep.evaluator.engine.prefixes import find_shared_prefixes
from sidestep.evaluator.engine.ragged import RaggedForward
from sidestep.evaluator.engine.reference import answer_one_by_one
from sidestep.evaluator.engine.sampling import choose_greedily
from sidestep.evaluator.engine.transformers_engine import TransformersEngine, create
from sidestep.evaluator.settings import EngineSettings
from sidestep.shared.errors import CheckpointRejected
from tests.fakes.engine_requests import GREEDY, answers_of, random_requests, texts_of


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6), slots=st.integers(1, 13), count=st.integers(1, 13))
def test_logits_are_the_same_bits_in_any_layout(engine: TransformersEngine, seed: int, slots: int, count: int) -> None:
    """A sequence alone and in one piece, against cut up anyhow and among any others: every logit, bit for bit."""
    assert engine._fused is not None
    chooser = random.Random(seed)
    sequences = [[chooser.randrange(3, 250) for _ in range(chooser.randint(1, 60))] for _ in range(count)]
    alone = [FusedForward(engine._fused, 1, 64)([Chunk(0, tokens, len(tokens))]) for tokens in sequences]
    forward = FusedForward(engine._fused, max(slots, count), 64)
    read, found = [0] * count, [list[torch.Tensor]() for _ in sequences]
    while any(at < len(tokens) for at, tokens in zip(read, sequences, strict=True)):
        chunks = []
        for at, tokens in zip(read, sequences, strict=True):
            at = min(at, len(tokens) - 1)  # a finished one reads its last token again
            part = tokens[at : at + chooser.randint(1, 30)]
            chunks.append(Chunk(at, part, len(part)))
        rows = torch.split(forward(chunks), [chunk.predictions for chunk in chunks])
        for number, chunk in enumerate(chunks):
            if chunk.end > read[number]:
                found[number].append(rows[number][max(0, read[number] - chunk.start) :])
                read[number] = chunk.end
    for whole, pieces in zip(alone, found, strict=True):
        assert torch.equal(torch.cat(pieces), whole)


def test_both_forward_passes_give_the_models_logits(engine32: TransformersEngine) -> None:
    model = AutoModelForCausalLM.from_pretrained(engine32.info.base_model, dtype=torch.float32).eval()
    ids = list(range(5, 40))
    with torch.no_grad():
        wanted = model(torch.tensor([ids])).logits[0]
    assert engine32._fused is not None
    fast = FusedForward(engine32._fused, 1, 64)([Chunk(0, ids, len(ids))])
    model.set_attn_implementation("sidestep_ragged")
    modules = RaggedForward(model, 1, 64, 4)([Chunk(0, ids, len(ids))])
    assert (fast - wanted).abs().max() < 1e-4
    assert (modules - wanted).abs().max() < 1e-4


@pytest.mark.parametrize(("config", "build"), [(Qwen2Config, Qwen2ForCausalLM), (Qwen3Config, Qwen3ForCausalLM)])
def test_the_fast_forward_pass_serves_the_family(config: Any, build: Any) -> None:
    torch.manual_seed(3)
    model = build(
        config(
            vocab_size=96, hidden_size=48, intermediate_size=80, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, head_dim=12, initializer_range=0.3,
        )
    ).eval()  # fmt: skip
    for parameter in model.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))  # biases and norms that matter
    assert why_unsupported(model) is None
    assert logit_difference(model, FusedModel(model, 4, packed=True)) < 1e-3
    assert logit_difference(model, FusedModel(model, 4, packed=False)) < 1e-3


def test_a_forward_pass_that_differs_is_not_used(base_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidestep.evaluator.engine.fused.logit_difference", lambda model, fused: 0.5)
    engine = create(EngineSettings(str(base_model), device="cpu", dtype="float32"))
    assert engine._fused is None
    assert any("differ from ours" in note for note in engine.info.notes)
    assert len(answers_of(engine, random_requests(3))) == 3


def test_shared_beginnings() -> None:
    def prompt(name: str, *tokens: int) -> Prompt:
        return Prompt(name, tokens, 8)

    start = tuple(range(20))
    found = find_shared_prefixes(
        [prompt("a", *start, 7, 8), prompt("b", *start, 7, 9), prompt("c", 5), prompt("d", *range(30, 60))]
    )
    assert [(prefix.tokens, prefix.prompts) for prefix in found] == [((*start, 7), (0, 1))]
    same = find_shared_prefixes([prompt("a", *start), prompt("b", *start)])
    assert same[0].tokens == start[:-1]


def test_a_shared_beginning_changes_no_answer(engine: TransformersEngine) -> None:
    system = Message("system", "Answer with one line of SQL over the tables customers and products, no more than that.")
    requests = [replace(request, messages=(system, *request.messages)) for request in random_requests(7)]
    together = texts_of(answers_of(engine, requests))
    separate: dict[str, str] = {}
    for request in requests:
        separate |= texts_of(answers_of(engine, [request], plan_for=requests))
    assert separate == together


def test_likelihood_of_the_reference_is_the_models(engine32: TransformersEngine) -> None:
    requests = [replace(request, reference=f"select {request.case_id}") for request in random_requests(5)]
    plain, found = texts_of(answers_of(engine32, random_requests(5))), answers_of(engine32, requests)
    assert texts_of(found) == plain
    model = AutoModelForCausalLM.from_pretrained(engine32.info.base_model, dtype=torch.float32).eval()
    for request in requests:
        prompt = engine32._prompt(request, GREEDY)
        ids = torch.tensor([[*prompt.tokens, *prompt.reference]])
        with torch.no_grad():
            logits = model(ids).logits[0, len(prompt.tokens) - 1 : -1].log_softmax(-1)
        wanted = logits.gather(1, torch.tensor(prompt.reference)[:, None]).mean().item()
        assert found[request.case_id].reference_logprob == pytest.approx(wanted, abs=1e-4)
        assert (
            answers_of(engine32, [request])[request.case_id].reference_logprob
            == found[request.case_id].reference_logprob
        )


def test_several_samples_come_as_one_answer(engine32: TransformersEngine) -> None:
    decoding = Decoding(temperature=0.9, max_new_tokens=12, samples=3)
    requests = random_requests(4)
    found = answers_of(engine32, requests, decoding)
    assert all(len(answer.others) == 2 for answer in found.values())
    assert any(len({answer.text, *answer.others}) > 1 for answer in found.values())
    one = answers_of(engine32, requests[1:2], decoding)["case-01"]
    assert (one.text, one.others) == (found["case-01"].text, found["case-01"].others)
    single = answers_of(engine32, requests, replace(decoding, samples=1))
    assert texts_of(single) == texts_of(found)
    assert Decoding(samples=1).sha256 != Decoding(samples=2).sha256


def _soft_prompt(base_model: Path, folder: Path) -> Path:
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(base_model, dtype=torch.float32),
        PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=5),
    )
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(5)))
    model.save_pretrained(folder)
    return folder


def test_soft_prompts(base_model: Path, tmp_path: Path, engine32: TransformersEngine) -> None:
    """Answers with a soft prompt are those of PEFT's own model, and nothing of it stays behind."""
    from peft import PeftModel

    plain = texts_of(answers_of(engine32, random_requests(6)))
    folder = _soft_prompt(base_model, tmp_path / "soft")
    engine32.attach(folder)
    found = answers_of(engine32, random_requests(6))
    reference: dict[str, str] = {}
    prompts = [engine32._prompt(request, GREEDY) for request in random_requests(6)]
    engine32.model.set_attn_implementation("sdpa")
    answer_one_by_one(
        engine32._resident, prompts, engine32._tokenizer.detokenizer, GREEDY,
        lambda answer: reference.update({answer.case_id: answer.text}), lambda tokens: None,
    )  # fmt: skip
    engine32.detach()
    assert texts_of(found) == reference != plain
    assert found["case-00"].prompt_tokens == len(prompts[0].tokens) - 5
    assert texts_of(answers_of(engine32, random_requests(6))) == plain

    tokenizer = AutoTokenizer.from_pretrained(base_model)
    tuned = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base_model, dtype=torch.float32), folder)
    ids = torch.tensor([[token for token in prompts[0].tokens if token < len(tokenizer)]])
    # With a cache, PEFT 0.21 and transformers 5.24 generate something else than the logits of the same model say.
    output = tuned.eval().generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=24, do_sample=False, use_cache=False
    )
    text = tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True)
    assert found["case-00"].text == text

    config = folder / "adapter_config.json"
    config.write_text(config.read_text().replace('"num_virtual_tokens": 5', '"num_virtual_tokens": 7'))
    with pytest.raises(CheckpointRejected, match="does not fit"):
        engine32.attach(folder)


@pytest.mark.parametrize(
    ("counts", "expected"), [([1, 2], [[0, 1]]), ([40, 1, 30], [[0, 2], [1]]), ([40], [[0]]), ([], [])]
)
def test_bands(counts: list[int], expected: list[list[int]]) -> None:
    assert split_into_bands(counts) == expected


def test_small_decisions() -> None:
    assert [padded_width(count) for count in (1, 3, 8, 9, 17, 50)] == [1, 4, 8, 16, 32, 64]
    logits = torch.zeros(2, 2500)
    logits[0, 1500] = logits[0, 1400] = logits[0, 2400] = 3.0
    logits[1, 2499] = 1.0
    assert choose_greedily(logits) == [1400, 2499]
