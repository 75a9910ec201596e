"""Answers through transformers' ``generate``: the reference that tests compare with, and the way for models whose
attention the ragged loop does not serve. Slower, and an answer may depend on its batch in half precision."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

import torch
from transformers import PreTrainedModel, StoppingCriteria, StoppingCriteriaList

from sidestep.evaluator.cases.exchange import Answer, Decoding
from sidestep.evaluator.engine import ragged
from sidestep.evaluator.engine.choosing import log_probabilities, seed_of
from sidestep.evaluator.engine.decode import Language, first_stop
from sidestep.evaluator.engine.plan import Prompt
from sidestep.evaluator.engine.protocol import OnAnswer, OnStep


class _Hook(StoppingCriteria):
    """Calls the hook at each step; stops at a stop string."""

    def __init__(self, prompt: Prompt, language: Language, decoding: Decoding, hook: OnStep, before: int) -> None:
        self._prompt = prompt
        self._language = language
        self._decoding = decoding
        self._hook = hook
        self._before = before

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **_: Any) -> torch.Tensor:
        answer = input_ids[0].tolist()
        self._hook(self._before + len(answer))
        stopped = (
            bool(self._decoding.stop) and first_stop(self._language.text_of(answer), self._decoding.stop) is not None
        )
        return torch.tensor([stopped], device=input_ids.device)


class Resident(Protocol):
    """A model, and the soft prompt (virtual tokens, hidden size) that stands before every prompt, if any."""

    model: PreTrainedModel
    soft_prompt: torch.Tensor | None


@torch.inference_mode()
def answer_one_by_one(
    resident: Resident,
    prompts: Sequence[Prompt],
    language: Language,
    decoding: Decoding,
    on_answer: OnAnswer,
    on_step: OnStep,
) -> None:
    """Answer each prompt alone. The parameters are those of the decode loop."""
    model, produced = resident.model, 0
    for prompt in prompts:
        began = time.monotonic()
        if decoding.temperature > 0:
            torch.manual_seed(seed_of(prompt.case_id, decoding.seed, prompt.sample))
        ids = torch.tensor([prompt.tokens], device=model.device)
        hook = _Hook(prompt, language, decoding, on_step, produced)
        embeds = ragged.embed(model.get_input_embeddings(), ids, resident.soft_prompt)
        output = model.generate(
            inputs_embeds=embeds,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=prompt.limit,
            eos_token_id=sorted(language.end_tokens),
            pad_token_id=min(language.end_tokens),
            stopping_criteria=StoppingCriteriaList([hook]),
            **_sampling(decoding),
        )
        tokens = output[0].tolist()  # without the prompt, because that went in as embeddings
        produced += len(tokens)
        answer = _answer(prompt, tokens, language, decoding, time.monotonic() - began)
        on_answer(replace(answer, reference_logprob=_likelihood(model, prompt, embeds)))


def _likelihood(model: PreTrainedModel, prompt: Prompt, embeds: torch.Tensor) -> float | None:
    """Mean log-probability per token of the prompt's reference."""
    if not prompt.reference:
        return None
    reference = torch.tensor([prompt.reference], device=embeds.device)
    behind = model.get_input_embeddings()(reference[:, :-1])
    logits = model(inputs_embeds=torch.cat([embeds, behind], 1)).logits[0, embeds.shape[1] - 1 :]
    return sum(log_probabilities(logits, prompt.reference)) / len(prompt.reference)


def _answer(prompt: Prompt, tokens: list[int], language: Language, decoding: Decoding, seconds: float) -> Answer:
    ended = bool(tokens) and tokens[-1] in language.end_tokens
    text = language.text_of(tokens[:-1] if ended else tokens)
    stop = first_stop(text, decoding.stop)
    return Answer(
        case_id=prompt.case_id,
        text=text if stop is None else text[:stop],
        prompt_tokens=len(prompt.tokens) - prompt.virtual,
        output_tokens=len(tokens),
        finish_reason="stop" if ended or stop is not None else "length",
        seconds=seconds,
        sample=prompt.sample,
    )


def _sampling(decoding: Decoding) -> dict[str, Any]:
    if decoding.temperature <= 0:
        return {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
    return {
        "do_sample": True,
        "temperature": decoding.temperature,
        "top_p": decoding.top_p,
        "top_k": decoding.top_k or None,
    }
