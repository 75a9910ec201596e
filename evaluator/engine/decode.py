"""The decode loop: cases enter slots as others leave, prompts are read in chunks, answers grow a step at a time.

A case reads its prompt, and behind it the reference answer whose likelihood is wanted; the answer is then written over
the reference, in the same slot. A step makes one token per case, or several where drafts turn out right. (Continuous
batching with chunked prompts, as in Orca, OSDI 2022, and Sarathi, arXiv 2308.16369.)
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch

from sidestep.evaluator.cases.exchange import Answer, Decoding
from sidestep.evaluator.engine.key_values import KeyValues, Prefix
from sidestep.evaluator.engine.layout import Chunk
from sidestep.evaluator.engine.plan import Prompt
from sidestep.evaluator.engine.prefixes import SharedPrefix, find_shared_prefixes
from sidestep.evaluator.engine.protocol import OnAnswer, OnStep
from sidestep.evaluator.engine.replay import DraftKind, DraftSource, Replay
from sidestep.evaluator.engine.sampling import choose_greedily, log_probabilities, sample_tokens, seed_for

PROMPT_TOO_LONG = "prompt_too_long"
MAX_PROMPT_TOKENS = 2048  # read in one step, over all cases
MIN_CHUNK = 32


class Forward(Protocol):
    """A forward pass over slots (``fused.FusedForward``, ``ragged.RaggedForward``)."""

    max_chunk: int  # prompt tokens of a case in one step
    slots: KeyValues
    soft_prompt: torch.Tensor | None  # [virtual tokens, hidden size], for ids past the vocabulary

    def __call__(self, chunks: Sequence[Chunk]) -> torch.Tensor:
        """Logits [wanted predictions of all chunks in order, vocabulary]; ``chunks[i]`` belongs to slot i."""
        ...


class Decode(Protocol):
    """Text of token ids, without special tokens."""

    def __call__(self, tokens: Sequence[int]) -> str: ...


@dataclass(frozen=True)
class Detokenizer:
    """What is needed to make text of an answer's token ids: which ones end it, and the tokenizer's ``decode``."""

    end_tokens: frozenset[int]
    decode: Decode


@dataclass
class _LiveCase:
    """A case in a slot: how much is read, what is drafted, and its answer so far."""

    prompt: Prompt
    started: float  # seconds of the monotonic clock
    read: int = 0
    answer: list[int] = field(default_factory=list)
    first: int | None = None  # the answer's first token, known before the reference is read
    draft: Sequence[int] = ()
    draft_kind: DraftKind = "resumes"
    source: DraftSource | None = None
    log_probability: float = 0.0
    generator: torch.Generator | None = None

    @property
    def to_read(self) -> tuple[int, ...]:
        """All that is read before the answer is written: every reference token but the last has a successor."""
        return self.prompt.tokens + self.prompt.reference[:-1]

    def next_chunk(self, size: int) -> Chunk:
        """What this case contributes to the next step; ``size`` is the most it may read."""
        if self.answer:
            tokens = [self.answer[-1], *self.draft]
            return Chunk(len(self.prompt.tokens) + len(self.answer) - 1, tokens, len(tokens))
        part = self.to_read[self.read : self.read + size]
        predicting = self.read + len(part) - (len(self.prompt.tokens) - 1)
        return Chunk(self.read, part, max(0, min(predicting, len(part))))


class DecodeLoop:
    """Answers prompts with a forward pass over slots."""

    def __init__(
        self,
        forward: Forward,
        slots: int,
        detokenizer: Detokenizer,
        decoding: Decoding,
        replay: Replay | None = None,
    ) -> None:
        """``slots`` is how many cases are answered at once; ``replay`` drafts greedy answers, and learns from them."""
        self._forward = forward
        self._slots = slots
        self._detokenizer = detokenizer
        self._decoding = decoding
        self._replay = replay if decoding.temperature <= 0 else None
        self._prefixes: dict[int, Prefix] = {}

    def run(self, prompts: Sequence[Prompt], on_answer: OnAnswer, on_step: OnStep) -> None:
        """Answer all prompts, in the order given as slots allow. ``on_step`` may raise to cancel."""
        self._read_prefixes(prompts, on_step)
        queue, live, tokens = list(reversed(range(len(prompts)))), list[_LiveCase](), 0
        while queue or live:
            on_step(tokens)
            while queue and len(live) < self._slots:
                number = queue.pop()
                live.append(self._admit(prompts[number], self._prefixes.get(number), len(live)))
            tokens += self._step(live)
            self._retire_finished(live, on_answer)

    def _read_prefixes(self, prompts: Sequence[Prompt], on_step: OnStep) -> None:
        """Read what several prompts begin with once, as many prefixes at a time as there are slots."""
        self._prefixes = {}
        shared = find_shared_prefixes(prompts)
        for start in range(0, len(shared), self._slots):
            self._read_some_prefixes(shared[start : start + self._slots], on_step)

    def _read_some_prefixes(self, prefixes: Sequence[SharedPrefix], on_step: OnStep) -> None:
        size, read = self._chunk_size(len(prefixes)), 0
        while any(read < len(prefix.tokens) for prefix in prefixes):
            on_step(0)
            # one that is read already reads its last token again, which changes nothing
            starts = [min(read, len(prefix.tokens) - 1) for prefix in prefixes]
            self._forward(
                [
                    Chunk(start, prefix.tokens[start : start + size], 0)
                    for start, prefix in zip(starts, prefixes, strict=True)
                ]
            )
            read += size
        for slot, prefix in enumerate(prefixes):
            copy = self._forward.slots.copy_prefix(slot, len(prefix.tokens))
            self._prefixes |= dict.fromkeys(prefix.prompts, copy)

    def _chunk_size(self, readers: int) -> int:
        """Prompt tokens that each of so many readers may read in one step."""
        share = MAX_PROMPT_TOKENS // max(1, readers) // MIN_CHUNK * MIN_CHUNK
        return max(MIN_CHUNK, min(share, self._forward.max_chunk))

    def _admit(self, prompt: Prompt, prefix: Prefix | None, slot: int) -> _LiveCase:
        """Let a case into a free slot, with its prefix read already where it shares one."""
        case = _LiveCase(prompt, time.monotonic())
        if self._decoding.temperature > 0:
            seed = seed_for(prompt.case_id, self._decoding.seed, prompt.sample)
            case.generator = torch.Generator().manual_seed(seed)
        if self._replay:
            case.source = self._replay.source(prompt.case_id, prompt.sample, prompt.tokens)
        if prefix is not None:
            self._forward.slots.make_room(prefix.length, slot)
            self._forward.slots.paste_prefix(slot, prefix)
            case.read = prefix.length
        return case

    def _step(self, live: list[_LiveCase]) -> int:
        """One forward pass; returns how many answer tokens it made."""
        readers = sum(1 for case in live if not case.answer)
        self._make_drafts(live)
        chunks = [case.next_chunk(self._chunk_size(readers)) for case in live]
        began = time.perf_counter()
        logits = self._forward(chunks)
        before = sum(len(case.answer) for case in live)
        self._apply_predictions(live, chunks, logits)
        if self._replay and not readers:
            self._replay.costs.observe(sum(len(chunk.tokens) for chunk in chunks), time.perf_counter() - began)
        return sum(len(case.answer) for case in live) - before

    def _make_drafts(self, live: list[_LiveCase]) -> None:
        if self._replay is None:
            return
        room = [case.prompt.limit - len(case.answer) - 1 for case in live]
        drafts = self._replay.drafts([(case.source, case.answer, most) for case, most in zip(live, room, strict=True)])
        for case, (tokens, kind) in zip(live, drafts, strict=True):
            case.draft, case.draft_kind = tokens, kind

    def _apply_predictions(self, live: list[_LiveCase], chunks: Sequence[Chunk], logits: torch.Tensor) -> None:
        """Give every case its predictions: of its reference while it reads, of its answer while it writes."""
        chosen, at = iter(self._choose_tokens(live, chunks, logits)), 0
        drafted = []
        for case, chunk in zip(live, chunks, strict=True):
            rows = logits[at : at + chunk.predictions]
            at += chunk.predictions
            if not case.answer:
                self._advance_reading(case, chunk, rows, chosen)
                continue
            right = self._extend_answer(case, [next(chosen) for _ in range(chunk.predictions)])
            drafted.append((case.draft_kind, len(case.draft), right))
        if self._replay:
            self._replay.learn(drafted)

    def _choose_tokens(self, live: list[_LiveCase], chunks: Sequence[Chunk], logits: torch.Tensor) -> list[int]:
        """Tokens for the predictions that continue an answer; those inside a reference are not chosen from."""
        rows, generators, at = list[int](), list[torch.Generator](), 0
        for case, chunk in zip(live, chunks, strict=True):
            if chunk.predictions and (case.answer or case.first is None):
                count = chunk.predictions if case.answer else 1
                rows += range(at, at + count)
                generators += [case.generator] * count if case.generator else []
            at += chunk.predictions
        if not rows:
            return []
        if len(rows) < at:
            logits = logits[torch.tensor(rows, device=logits.device)]
        return sample_tokens(logits, self._decoding, generators) if generators else choose_greedily(logits)

    @staticmethod
    def _advance_reading(case: _LiveCase, chunk: Chunk, rows: torch.Tensor, chosen: Iterator[int]) -> None:
        """Count what was read; ``rows`` [predictions, vocabulary] are the logits after the chunk's last tokens."""
        if chunk.predictions:
            if case.first is None:
                case.first = next(chosen)
            reference = case.prompt.reference
            if reference:
                begin = chunk.end - chunk.predictions - (len(case.prompt.tokens) - 1)
                wanted = reference[begin : begin + chunk.predictions]
                case.log_probability += sum(log_probabilities(rows, wanted))
        case.read += len(chunk.tokens)
        if case.read == len(case.to_read) and case.first is not None:
            case.answer.append(case.first)

    def _extend_answer(self, case: _LiveCase, predicted: Sequence[int]) -> int:
        """Add what was predicted, as far as the draft was right; returns how many drafted tokens were."""
        right = 0
        for token in predicted:
            case.answer.append(token)
            if right == len(case.draft) or case.draft[right] != token or self._is_finished(case):
                break
            right += 1
        return right

    def _retire_finished(self, live: list[_LiveCase], on_answer: OnAnswer) -> None:
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
            on_answer(self._finished_answer(case))

    def _is_finished(self, case: _LiveCase) -> bool:
        if case.answer[-1] in self._detokenizer.end_tokens or len(case.answer) >= case.prompt.limit:
            return True
        stops = self._decoding.stop
        return bool(stops) and first_stop(self._detokenizer.decode(case.answer), stops) is not None

    def _finished_answer(self, case: _LiveCase) -> Answer:
        seconds = time.monotonic() - case.started
        answer = make_answer(case.prompt, case.answer, self._detokenizer, self._decoding, seconds)
        reference = case.prompt.reference
        return replace(answer, reference_logprob=case.log_probability / len(reference)) if reference else answer


def make_answer(
    prompt: Prompt, tokens: Sequence[int], detokenizer: Detokenizer, decoding: Decoding, seconds: float
) -> Answer:
    """A finished answer from its token ids, the end token among them, without its reference's likelihood. Pure."""
    ended = bool(tokens) and tokens[-1] in detokenizer.end_tokens
    text = detokenizer.decode(tokens[:-1] if ended else tokens)
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


def first_stop(text: str, stops: Sequence[str]) -> int | None:
    """Where the first stop string begins, in characters, or None. Pure."""
    found = [at for stop in stops if (at := text.find(stop)) >= 0]
    return min(found) if found else None
