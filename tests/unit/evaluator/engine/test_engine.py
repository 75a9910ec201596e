"""Answers: the reference's, whatever else is in the batch; stop strings, sampling, cancelling."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from sidestep.evaluator.cases.case import Message
from sidestep.evaluator.cases.exchange import Answer, Decoding, Request
from sidestep.evaluator.engine.decode import DecodeLoop, first_stop
from sidestep.evaluator.engine.plan import Plan, Prompt, longest_first, make_plan
from sidestep.evaluator.engine.ragged import ATTENTION_NAME
from sidestep.evaluator.engine.reference import answer_one_by_one
from sidestep.evaluator.engine.sampling import choose_greedily, sampling_probabilities, seed_for
from sidestep.evaluator.engine.transformers_engine import TransformersEngine, create
from sidestep.evaluator.settings import EngineSettings
from sidestep.shared.errors import BaseModelError, ConfigError, DeviceOutOfMemory
from tests.fakes.engine_requests import GREEDY, answers_of, random_requests, texts_of


@pytest.mark.parametrize("kind", ["base", "lora", "dora", "ia3", "lokr"])
def test_ragged_answers_equal_the_reference(engine32: TransformersEngine, adapters: dict[str, Path], kind: str) -> None:
    requests = random_requests(9)
    if kind != "base":
        engine32.attach(adapters[kind])
    ragged = answers_of(engine32, requests)
    model = engine32.model
    model.set_attn_implementation("sdpa")
    reference: dict[str, Answer] = {}
    prompts = [engine32._prompt(request, GREEDY) for request in requests]
    answer_one_by_one(
        engine32._resident, prompts, engine32._tokenizer.detokenizer, GREEDY,
        lambda answer: reference.update({answer.case_id: answer}), lambda tokens: None,
    )  # fmt: skip
    model.set_attn_implementation(ATTENTION_NAME)
    engine32.detach()
    assert texts_of(ragged) == texts_of(reference)
    assert {case: answer.output_tokens for case, answer in ragged.items()} == {
        case: answer.output_tokens for case, answer in reference.items()
    }
    assert len(set(texts_of(ragged).values())) > 5  # the prompts matter


@pytest.mark.parametrize("layout", ["one by one", "threes", "sevens", "shuffled", "few slots"])
def test_answers_do_not_depend_on_the_batch(
    engine: TransformersEngine, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = random_requests(21)
    together = texts_of(answers_of(engine, requests))
    if layout == "shuffled":
        random.Random(3).shuffle(requests)
    if layout == "few slots":
        monkeypatch.setattr(
            engine, "_plan", lambda suite: Plan(2, make_plan(suite, bytes_per_position=1, memory_bytes=1).capacity)
        )
    size = {"one by one": 1, "threes": 3, "sevens": 7}.get(layout, len(requests))
    separate: dict[str, str] = {}
    for start in range(0, len(requests), size):
        separate |= texts_of(answers_of(engine, requests[start : start + size], plan_for=requests))
    assert separate == together


def test_stop_strings_end_an_answer_and_are_not_part_of_it(engine32: TransformersEngine) -> None:
    requests = random_requests(3)
    whole = answers_of(engine32, requests)
    stop = next(answer.text[4:6] for answer in whole.values() if len(answer.text) > 8)
    stopped = answers_of(engine32, requests, Decoding(max_new_tokens=24, stop=(stop,)))
    for case, answer in stopped.items():
        assert stop not in answer.text
        assert whole[case].text.startswith(answer.text)
    assert any(answer.finish_reason == "stop" and answer.output_tokens < 24 for answer in stopped.values())


def test_sampling_is_repeatable_and_independent_of_the_batch(engine32: TransformersEngine) -> None:
    decoding = Decoding(temperature=0.8, top_p=0.9, top_k=20, max_new_tokens=12)
    requests = random_requests(6)
    first = texts_of(answers_of(engine32, requests, decoding))
    assert texts_of(answers_of(engine32, requests, decoding)) == first
    assert texts_of(answers_of(engine32, requests[2:3], decoding, plan_for=requests)) == {"case-02": first["case-02"]}
    assert texts_of(answers_of(engine32, requests, Decoding(temperature=0.8, max_new_tokens=12, seed=1))) != first


def test_cancelling_leaves_the_engine_usable(engine32: TransformersEngine) -> None:
    class Cancelled(Exception):
        pass

    def hook(tokens: int) -> None:
        if tokens > 10:
            raise Cancelled

    before = texts_of(answers_of(engine32, random_requests(4)))
    with pytest.raises(Cancelled):
        engine32.answer(random_requests(4), GREEDY, lambda answer: None, hook)
    assert texts_of(answers_of(engine32, random_requests(4))) == before


def test_limits_of_length(engine32: TransformersEngine) -> None:
    requests = [
        Request("long", (Message("user", "x" * 600),)),
        Request("short", (Message("user", "x"),), max_new_tokens=3),
        Request("nearly", (Message("user", "x" * 470),)),
    ]
    answers = answers_of(engine32, requests, Decoding(max_new_tokens=200))
    assert answers["long"].finish_reason == "prompt_too_long"
    assert answers["short"].output_tokens <= 3
    assert answers["nearly"].prompt_tokens + answers["nearly"].output_tokens <= 512


def test_out_of_memory_goes_on_with_fewer_slots(engine32: TransformersEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = random_requests(8)
    wanted = texts_of(answers_of(engine32, requests))
    run, slots = DecodeLoop.run, []

    def full(self: DecodeLoop, *args: object) -> None:
        slots.append(self._slots)
        if self._slots > 2:
            raise torch.OutOfMemoryError
        run(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(DecodeLoop, "run", full)
    assert texts_of(answers_of(engine32, requests)) == wanted
    assert slots == [8, 4, 2]
    monkeypatch.setattr(DecodeLoop, "run", lambda self, *args: _out_of_memory())
    with pytest.raises(DeviceOutOfMemory):
        answers_of(engine32, requests)


def _out_of_memory() -> None:
    raise torch.OutOfMemoryError


def test_info_names_what_answers_depend_on(engine32: TransformersEngine) -> None:
    assert (engine32.info.device, engine32.info.dtype) == ("cpu", "float32")
    assert {"torch", "transformers", "peft", "sidestep"} == set(engine32.info.versions)
    assert len(engine32.info.base_fingerprint) == 64
    assert any("row groups" in note for note in engine32.info.notes)


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        (EngineSettings("/nowhere"), BaseModelError),
        (EngineSettings("/", device="cuda"), ConfigError),
        (EngineSettings("/", device="tpu"), ConfigError),
    ],
)
def test_what_cannot_work_is_said(settings: EngineSettings, kind: type[Exception]) -> None:
    if settings.device == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(kind):
        create(settings)


@pytest.mark.parametrize(
    ("lengths", "memory", "slots", "capacity"),
    [
        ([10, 20], 1 << 30, 2, 64),
        ([60], 1 << 30, 1, 128),
        ([10] * 100, 1 << 30, 64, 64),
        ([10] * 100, 64 * 100 * 8, 8, 64),
        ([10] * 100, 1, 1, 64),
        ([], 1, 1, 64),
    ],
)
def test_plan(lengths: list[int], memory: int, slots: int, capacity: int) -> None:
    prompts = [Prompt(str(n), (1,) * length, 8) for n, length in enumerate(lengths)]
    assert make_plan(prompts, bytes_per_position=100, memory_bytes=memory) == Plan(slots, capacity)


def test_order_is_longest_first_then_by_id() -> None:
    prompts = [Prompt("b", (1,), 4), Prompt("a", (1,), 4), Prompt("c", (1, 2), 4)]
    assert [prompt.case_id for prompt in longest_first(prompts)] == ["c", "a", "b"]


def test_small_decisions() -> None:
    assert first_stop("abcdef", ["d", "bc"]) == 1
    assert first_stop("abc", ["x"]) is None
    assert choose_greedily(torch.tensor([[0.0, 2.0, 2.0], [3.0, 1.0, 3.0]])) == [1, 0]
    broken = torch.full((1, 260), float("nan"))  # padded to whole blocks: there is no token 1023
    assert choose_greedily(broken) == [259]
    assert seed_for("a", 1) == seed_for("a", 1) != seed_for("b", 1)


def test_sampling_keeps_only_what_top_k_and_top_p_allow() -> None:
    logits = torch.tensor([[4.0, 3.0, 2.0, 1.0]])
    top_k = sampling_probabilities(logits, Decoding(temperature=1.0, top_k=2))
    assert (top_k > 0).tolist() == [[True, True, False, False]]
    top_p = sampling_probabilities(logits, Decoding(temperature=1.0, top_p=0.5))
    assert (top_p > 0).tolist() == [[True, False, False, False]]
    assert torch.allclose(top_p.sum(-1), torch.ones(1))
