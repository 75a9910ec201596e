"""The decode loop: cases enter slots as others leave, prompts are read in chunks, answers grow a step at a time.

A case reads its prompt, and behind it the reference answer whose likelihood is wanted; the answer is then written over
the reference, in the same slot. A step makes one token a case, or several where drafts turn out right.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch

from sidestep.evaluator.cases.exchange import Answer, Decoding
from sidestep.evaluator.engine.choosing import drawn, log_probabilities, lowest_of_the_largest, seed_of
from sidestep.evaluator.engine.key_values import KeyValues, Prefix
from sidestep.evaluator.engine.layout import Work
from sidestep.evaluator.engine.plan import Prompt
from sidestep.evaluator.engine.prefixes import SharedPrefix, shared_prefixes
from sidestep.evaluator.engine.protocol import OnAnswer, OnStep
from sidestep.evaluator.engine.replay import Kind, Replay, Source

PROMPT_TOO_LONG = "prompt_too_long"
PROMPT_TOKENS = 2048  # read in one step, over all cases
SMALLEST_CHUNK = 32


class Forward(Protocol):
    """A forward pass over slots (evaluator.engine.fused, evaluator.engine.ragged)."""

    chunk: int
    slots: KeyValues

    def __call__(self, work: Sequence[Work]) -> torch.Tensor: ...


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
    """A case in a slot: how much is read, what is drafted, and its answer so far."""

    prompt: Prompt
    since: float
    read: int = 0
    answer: list[int] = field(default_factory=list)
    first: int | None = None  # the answer's first token, known before the reference is read
    draft: Sequence[int] = ()
    kind: Kind = "resumes"
    source: Source | None = None
    log_probability: float = 0.0
    generator: torch.Generator | None = None

    @property
    def reading(self) -> tuple[int, ...]:
        """All that is read before the answer is written: every reference token but the last has a successor."""
        return self.prompt.tokens + self.prompt.reference[:-1]

    def work(self, chunk: int) -> Work:
        """What this case contributes to the next step."""
        if self.answer:
            tokens = [self.answer[-1], *self.draft]
            return Work(len(self.prompt.tokens) + len(self.answer) - 1, tokens, len(tokens))
        part = self.reading[self.read : self.read + chunk]
        predicting = self.read + len(part) - (len(self.prompt.tokens) - 1)
        return Work(self.read, part, max(0, min(predicting, len(part))))


class DecodeLoop:
    """Answers prompts with a forward pass over slots."""

    def __init__(
        self,
        forward: Forward,
        slots: int,
        language: Language,
        decoding: Decoding,
        replay: Replay | None = None,
    ) -> None:
        self._forward = forward
        self._slots = slots
        self._language = language
        self._decoding = decoding
        self._replay = replay if decoding.temperature <= 0 else None
        self._prefixes: dict[int, Prefix] = {}

    def run(self, prompts: Sequence[Prompt], on_answer: OnAnswer, on_step: OnStep) -> None:
        """Answer all prompts, in the order given as slots allow. ``on_step`` may raise to cancel."""
        self._read_prefixes(prompts, on_step)
        queue, live, tokens = list(reversed(range(len(prompts)))), list[_Live](), 0
        while queue or live:
            on_step(tokens)
            while queue and len(live) < self._slots:
                number = queue.pop()
                live.append(self._enter(prompts[number], self._prefixes.get(number), len(live)))
            tokens += self._step(live)
            self._leave(live, on_answer)

    def _read_prefixes(self, prompts: Sequence[Prompt], on_step: OnStep) -> None:
        """Read what several prompts begin with once, as many beginnings at a time as there are slots."""
        self._prefixes = {}
        shared = shared_prefixes(prompts)
        for start in range(0, len(shared), self._slots):
            self._read_some(shared[start : start + self._slots], on_step)

    def _read_some(self, shared: Sequence[SharedPrefix], on_step: OnStep) -> None:
        chunk, read = self._chunk(len(shared)), 0
        while any(read < len(each.tokens) for each in shared):
            on_step(0)
            # one that is read already reads its last token again, which changes nothing
            starts = [min(read, len(each.tokens) - 1) for each in shared]
            self._forward(
                [Work(start, each.tokens[start : start + chunk], 0) for start, each in zip(starts, shared, strict=True)]
            )
            read += chunk
        for slot, each in enumerate(shared):
            prefix = self._forward.slots.cut_prefix(slot, len(each.tokens))
            self._prefixes |= dict.fromkeys(each.prompts, prefix)

    def _chunk(self, readers: int) -> int:
        """Prompt tokens of each of so many readers in one step."""
        share = PROMPT_TOKENS // max(1, readers) // SMALLEST_CHUNK * SMALLEST_CHUNK
        return max(SMALLEST_CHUNK, min(share, self._forward.chunk))

    def _enter(self, prompt: Prompt, prefix: Prefix | None, slot: int) -> _Live:
        case = _Live(prompt, time.monotonic())
        if self._decoding.temperature > 0:
            seed = seed_of(prompt.case_id, self._decoding.seed, prompt.sample)
            case.generator = torch.Generator().manual_seed(seed)
        if self._replay:
            case.source = self._replay.source(prompt.case_id, prompt.sample, prompt.tokens)
        if prefix is not None:
            self._forward.slots.make_room(prefix.length, slot)
            self._forward.slots.paste_prefix(slot, prefix)
            case.read = prefix.length
        return case

    def _step(self, live: list[_Live]) -> int:
        readers = sum(1 for case in live if not case.answer)
        self._draft(live)
        work = [case.work(self._chunk(readers)) for case in live]
        began = time.perf_counter()
        logits = self._forward(work)
        before = sum(len(case.answer) for case in live)
        self._take(live, work, logits)
        if self._replay and not readers:
            self._replay.costs.observe(sum(len(part.tokens) for part in work), time.perf_counter() - began)
        return sum(len(case.answer) for case in live) - before

    def _draft(self, live: list[_Live]) -> None:
        if self._replay is None:
            return
        room = [case.prompt.limit - len(case.answer) - 1 for case in live]
        found = self._replay.drafts([(case.source, case.answer, most) for case, most in zip(live, room, strict=True)])
        for case, (tokens, kind) in zip(live, found, strict=True):
            case.draft, case.kind = tokens, kind

    def _take(self, live: list[_Live], work: Sequence[Work], logits: torch.Tensor) -> None:
        """Give each case its predictions: of its reference while it reads, of its answer while it writes."""
        chosen, at = iter(self._choose(live, work, logits)), 0
        drafted = []
        for case, part in zip(live, work, strict=True):
            rows = logits[at : at + part.wanted]
            at += part.wanted
            if not case.answer:
                self._read(case, part, rows, chosen)
                continue
            right = self._write(case, [next(chosen) for _ in range(part.wanted)])
            drafted.append((case.kind, len(case.draft), right))
        if self._replay:
            self._replay.learn(drafted)

    def _choose(self, live: list[_Live], work: Sequence[Work], logits: torch.Tensor) -> list[int]:
        """Tokens for the predictions that continue an answer; those inside a reference are not chosen from."""
        rows, generators, at = list[int](), list[torch.Generator](), 0
        for case, part in zip(live, work, strict=True):
            if part.wanted and (case.answer or case.first is None):
                count = part.wanted if case.answer else 1
                rows += range(at, at + count)
                generators += [case.generator] * count if case.generator else []
            at += part.wanted
        if not rows:
            return []
        if len(rows) < at:
            logits = logits[torch.tensor(rows, device=logits.device)]
        return drawn(logits, self._decoding, generators) if generators else lowest_of_the_largest(logits)

    @staticmethod
    def _read(case: _Live, part: Work, rows: torch.Tensor, chosen: Iterator[int]) -> None:
        if part.wanted:
            if case.first is None:
                case.first = next(chosen)
            reference = case.prompt.reference
            if reference:
                begin = part.end - part.wanted - (len(case.prompt.tokens) - 1)
                wanted = reference[begin : begin + part.wanted]
                case.log_probability += sum(log_probabilities(rows, wanted))
        case.read += len(part.tokens)
        if case.read == len(case.reading) and case.first is not None:
            case.answer.append(case.first)

    def _write(self, case: _Live, predicted: Sequence[int]) -> int:
        """Add what was predicted, as far as the draft was right; returns how many drafted tokens were."""
        right = 0
        for token in predicted:
            case.answer.append(token)
            if right == len(case.draft) or case.draft[right] != token or self._is_finished(case):
                break
            right += 1
        return right

    def _leave(self, live: list[_Live], on_answer: OnAnswer) -> None:
        """Report finished cases and keep the others dense: the last one moves into a freed slot."""
        for slot in reversed(range(len(live))):
            case = live[slot]
            if not case.answer or not self._is_finished(case):
                continue
            last = live.pop()
            if slot < len(live):
                self._forward.slots.move(len(live), slot)
                live[slot] = last
            if self._replay:
                prompt = case.prompt
                self._replay.remember(prompt.case_id, prompt.sample, prompt.tokens, case.answer)
            on_answer(self._answer(case))

    def _is_finished(self, case: _Live) -> bool:
        if case.answer[-1] in self._language.end_tokens or len(case.answer) >= case.prompt.limit:
            return True
        stops = self._decoding.stop
        return bool(stops) and first_stop(self._language.text_of(case.answer), stops) is not None

    def _answer(self, case: _Live) -> Answer:
        ended = case.answer[-1] in self._language.end_tokens
        text = self._language.text_of(case.answer[:-1] if ended else case.answer)
        stop = first_stop(text, self._decoding.stop)
        reference = case.prompt.reference
        return Answer(
            case_id=case.prompt.case_id,
            text=text[:stop] if stop is not None else text,
            prompt_tokens=len(case.prompt.tokens) - case.prompt.virtual,
            output_tokens=len(case.answer),
            finish_reason="stop" if ended or stop is not None else "length",
            seconds=time.monotonic() - case.since,
            reference_logprob=case.log_probability / len(reference) if reference else None,
            sample=case.prompt.sample,
        )


def first_stop(text: str, stops: Sequence[str]) -> int | None:
    """Where the first stop string begins, or None. Pure."""
    found = [at for stop in stops if (at := text.find(stop)) >= 0]
    return min(found) if found else None
