"""The decode loop: cases enter slots as others leave, prompts are read in chunks, one token a case and step."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch

from evaluator.engine.plan import Prompt
from evaluator.engine.protocol import Answer, BetweenSteps, Decoding, OnAnswer
from evaluator.engine.ragged import CHUNK, RaggedForward, Work

PROMPT_TOO_LONG = "prompt_too_long"


class Detokenize(Protocol):
    """Text of token ids, without special tokens."""

    def __call__(self, tokens: Sequence[int]) -> str: ...


@dataclass(frozen=True)
class Language:
    """What the loop must know of the tokenizer."""

    end_tokens: frozenset[int]
    text_of: Detokenize


@dataclass
class _Live:
    """A case in a slot: how much of its prompt is read, and its answer so far."""

    prompt: Prompt
    since: float
    read: int = 0
    answer: list[int] = field(default_factory=list)
    generator: torch.Generator | None = None

    def work(self) -> Work:
        """What this case contributes to the next step."""
        if self.answer:
            return Work(len(self.prompt.tokens) + len(self.answer) - 1, self.answer[-1:], 1)
        tokens = self.prompt.tokens[self.read : self.read + CHUNK]
        return Work(self.read, tokens, int(self.read + len(tokens) == len(self.prompt.tokens)))


class DecodeLoop:
    """Answers prompts with a forward pass over slots."""

    def __init__(self, forward: RaggedForward, slots: int, language: Language, decoding: Decoding) -> None:
        self._forward = forward
        self._slots = slots
        self._language = language
        self._decoding = decoding
        self._choose: Callable[[torch.Tensor, Sequence[_Live]], list[int]] = (
            _sampler(decoding) if decoding.temperature > 0 else lambda logits, live: lowest_of_the_largest(logits)
        )

    def run(self, prompts: Sequence[Prompt], on_answer: OnAnswer, between_steps: BetweenSteps) -> None:
        """Answer all prompts, in the order given as slots allow. ``between_steps`` may raise to cancel."""
        queue, live, tokens = list(reversed(prompts)), list[_Live](), 0
        while queue or live:
            between_steps(tokens)
            while queue and len(live) < self._slots:
                live.append(self._enter(queue.pop()))
            tokens += self._step(live)
            self._leave(live, on_answer)

    def _enter(self, prompt: Prompt) -> _Live:
        generator = None
        if self._decoding.temperature > 0:
            generator = torch.Generator().manual_seed(seed_of(prompt.case_id, self._decoding.seed))
        return _Live(prompt, time.monotonic(), generator=generator)

    def _step(self, live: list[_Live]) -> int:
        work = [case.work() for case in live]
        logits = self._forward(work)
        deciding = [case for case, part in zip(live, work, strict=True) if part.wanted]
        chosen = self._choose(logits, deciding) if deciding else []
        for case, part in zip(live, work, strict=True):
            if not case.answer:
                case.read += len(part.tokens)
        for case, token in zip(deciding, chosen, strict=True):
            case.answer.append(token)
        return len(deciding)

    def _leave(self, live: list[_Live], on_answer: OnAnswer) -> None:
        """Report finished cases and keep the others dense: the last one moves into a freed slot."""
        for slot in reversed(range(len(live))):
            finished = self._finished(live[slot])
            if finished is None:
                continue
            last = live.pop()
            if slot < len(live):
                self._forward.slots.move(len(live), slot)
                live[slot] = last
            on_answer(finished)

    def _finished(self, case: _Live) -> Answer | None:
        if not case.answer:
            return None
        ended = case.answer[-1] in self._language.end_tokens
        text = self._language.text_of(case.answer[:-1] if ended else case.answer) if self._needs_text(case) else ""
        stop = first_stop(text, self._decoding.stop)
        if not ended and stop is None and len(case.answer) < case.prompt.limit:
            return None
        return Answer(
            case_id=case.prompt.case_id,
            text=text[:stop] if stop is not None else text,
            prompt_tokens=len(case.prompt.tokens),
            output_tokens=len(case.answer),
            finish_reason="stop" if ended or stop is not None else "length",
            seconds=time.monotonic() - case.since,
        )

    def _needs_text(self, case: _Live) -> bool:
        ended = case.answer[-1] in self._language.end_tokens
        return ended or bool(self._decoding.stop) or len(case.answer) >= case.prompt.limit


def first_stop(text: str, stops: Sequence[str]) -> int | None:
    """Where the first stop string begins, or None. Pure."""
    found = [at for stop in stops if (at := text.find(stop)) >= 0]
    return min(found) if found else None


def lowest_of_the_largest(logits: torch.Tensor) -> list[int]:
    """For each row of logits (rows, vocabulary): the largest; the lowest id among equals, so that no layout decides."""
    ids = torch.arange(logits.shape[-1], device=logits.device)
    chosen = torch.where(logits == logits.amax(-1, keepdim=True), ids, logits.shape[-1]).amin(-1)
    return [int(token) for token in chosen.tolist()]


def seed_of(case_id: str, seed: int) -> int:
    """A seed of its own for each case, the same in every run."""
    return int.from_bytes(hashlib.sha256(f"{seed}\0{case_id}".encode()).digest()[:7], "big")


def _sampler(decoding: Decoding) -> Callable[[torch.Tensor, Sequence[_Live]], list[int]]:
    def choose(logits: torch.Tensor, live: Sequence[_Live]) -> list[int]:
        probabilities = sampling_probabilities(logits.float().cpu(), decoding)
        return [
            int(torch.multinomial(row, 1, generator=case.generator))
            for row, case in zip(probabilities, live, strict=True)
        ]

    return choose


def sampling_probabilities(logits: torch.Tensor, decoding: Decoding) -> torch.Tensor:
    """Probabilities (rows, vocabulary) after temperature, top-k and top-p, as transformers applies them."""
    logits = logits / decoding.temperature
    if decoding.top_k:
        smallest = logits.topk(min(decoding.top_k, logits.shape[-1]), dim=-1).values[..., -1:]
        logits = logits.masked_fill(logits < smallest, float("-inf"))
    if decoding.top_p < 1.0:
        ordered, order = logits.sort(dim=-1, descending=False)
        outside = ordered.softmax(-1).cumsum(-1) <= 1 - decoding.top_p
        outside[..., -1] = False
        logits = logits.masked_fill(outside.scatter(-1, order, outside), float("-inf"))
    return logits.softmax(-1)
