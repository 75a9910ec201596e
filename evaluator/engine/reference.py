"""Answers through transformers' ``generate``: the reference that tests compare with, and the way for models whose
attention the ragged loop does not serve. Slower, and an answer may depend on its batch in half precision."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

import torch
from transformers import PreTrainedModel, StoppingCriteria, StoppingCriteriaList

from sidestep.evaluator.cases.exchange import Decoding
from sidestep.evaluator.engine import ragged
from sidestep.evaluator.engine.decode import Detokenizer, first_stop, make_answer
from sidestep.evaluator.engine.plan import Prompt
from sidestep.evaluator.engine.protocol import OnAnswer, OnStep
from sidestep.evaluator.engine.sampling import log_probabilities, seed_for


class _StepHook(StoppingCriteria):
    """Calls ``on_step`` at every step with the tokens of all answers so far; stops at a stop string."""

    def __init__(self, detokenizer: Detokenizer, decoding: Decoding, on_step: OnStep, tokens_before: int) -> None:
        self._detokenizer = detokenizer
        self._decoding = decoding
        self._on_step = on_step
        self._tokens_before = tokens_before

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **_: Any) -> torch.Tensor:
        answer = input_ids[0].tolist()
        self._on_step(self._tokens_before + len(answer))
        stopped = (
            bool(self._decoding.stop) and first_stop(self._detokenizer.decode(answer), self._decoding.stop) is not None
        )
        return torch.tensor([stopped], device=input_ids.device)


class Resident(Protocol):
    """A model, and the soft prompt [virtual tokens, hidden size] that is put before every prompt, if any."""

    model: PreTrainedModel
    soft_prompt: torch.Tensor | None


@torch.inference_mode()
def answer_one_by_one(
    resident: Resident,
    prompts: Sequence[Prompt],
    detokenizer: Detokenizer,
    decoding: Decoding,
    on_answer: OnAnswer,
    on_step: OnStep,
) -> None:
    """Answer the prompts one after the other. The parameters are those of the decode loop."""
    model, produced = resident.model, 0
    for prompt in prompts:
        began = time.monotonic()
        if decoding.temperature > 0:
            torch.manual_seed(seed_for(prompt.case_id, decoding.seed, prompt.sample))
        ids = torch.tensor([prompt.tokens], device=model.device)
        hook = _StepHook(detokenizer, decoding, on_step, produced)
        embeds = ragged.embed(model.get_input_embeddings(), ids, resident.soft_prompt)
        output = model.generate(
            inputs_embeds=embeds,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=prompt.limit,
            eos_token_id=sorted(detokenizer.end_tokens),
            pad_token_id=min(detokenizer.end_tokens),
            stopping_criteria=StoppingCriteriaList([hook]),
            **_generation_options(decoding),
        )
        tokens = output[0].tolist()  # without the prompt, because that went in as embeddings
        produced += len(tokens)
        answer = make_answer(prompt, tokens, detokenizer, decoding, time.monotonic() - began)
        on_answer(replace(answer, reference_logprob=_reference_logprob(model, prompt, embeds)))


def _reference_logprob(model: PreTrainedModel, prompt: Prompt, embeds: torch.Tensor) -> float | None:
    """Mean log-probability per token of the prompt's reference; ``embeds`` [1, prompt tokens, hidden size]."""
    if not prompt.reference:
        return None
    reference = torch.tensor([prompt.reference], device=embeds.device)
    behind = model.get_input_embeddings()(reference[:, :-1])
    logits = model(inputs_embeds=torch.cat([embeds, behind], 1)).logits[0, embeds.shape[1] - 1 :]
    return sum(log_probabilities(logits, prompt.reference)) / len(prompt.reference)


def _generation_options(decoding: Decoding) -> dict[str, bool | float | None]:
    if decoding.temperature <= 0:
        return {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
    return {
        "do_sample": True,
        "temperature": decoding.temperature,
        "top_p": decoding.top_p,
        "top_k": decoding.top_k or None,
    }
