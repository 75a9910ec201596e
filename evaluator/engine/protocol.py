"""What the worker asks of an engine, and what every engine (the real one and the test one) must offer."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import orjson

from sidestep.evaluator.suite.case import Message


@dataclass(frozen=True)
class Decoding:
    """How answers are produced. Greedy by default: sampling noise makes checkpoints incomparable.

    ``temperature`` 0 is greedy (ties: lowest token id); ``top_k`` 0 and ``top_p`` 1 switch those off.
    When sampling, each case and sample draws from its own generator, seeded from ``seed`` and the case's id.
    ``samples``: answers drawn to each request; more than one only makes sense when sampling.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    max_new_tokens: int = 200
    stop: tuple[str, ...] = ()
    seed: int = 42
    samples: int = 1

    @property
    def sha256(self) -> str:
        settings = asdict(self)
        if self.samples == 1:
            del settings["samples"]  # came later: what was evaluated before stays what it was
        return hashlib.sha256(orjson.dumps(settings, option=orjson.OPT_SORT_KEYS)).hexdigest()


@dataclass(frozen=True)
class Request:
    """One prompt to answer. The engine renders ``messages`` with the base model's own chat template."""

    case_id: str
    messages: tuple[Message, ...]
    max_new_tokens: int | None = None  # None: Decoding.max_new_tokens
    reference: str | None = None  # an answer whose likelihood is wanted


@dataclass(frozen=True)
class Answer:
    """One finished answer, without stop string and end-of-turn token.

    ``reference_logprob`` is the mean natural log-probability per token of the request's reference after its prompt;
    ``others`` are the texts of further samples.
    """

    case_id: str
    text: str
    prompt_tokens: int
    output_tokens: int
    finish_reason: str  # stop | length
    seconds: float
    reference_logprob: float | None = None
    others: tuple[str, ...] = ()
    sample: int = 0  # which of several answers this is, until they are gathered


@dataclass(frozen=True)
class EngineInfo:
    """Goes into every report, because answers under different devices or dtypes are not comparable."""

    base_model: str
    base_fingerprint: str  # names the base model's weights; identical for identical files
    device: str
    dtype: str
    versions: dict[str, str]
    notes: tuple[str, ...] = ()
    exact: bool = False  # answers were found to be bit-identical in any company


@dataclass(frozen=True)
class EngineSettings:
    """All an engine factory gets. Paths are absolute; nothing is fetched from a hub unless ``allow_hub``."""

    base_model: str
    device: str = "auto"  # auto | cpu | cuda | cuda:N
    dtype: str = "auto"  # auto | float32 | bfloat16 | float16
    quantization: str = "none"  # none | int8 | int4
    allow_hub: bool = False
    prompt_template: str | None = None  # name of the chat template for base models that bring none
    replay: bool | None = None  # drafts from the previous checkpoint's answers; None: where answers are exact
    memory_share: float | None = None  # most of a GPU's memory; None: what is loaded, and half of what is free then
    options: tuple[tuple[str, Any], ...] = ()  # engine-specific; used by tests


OnAnswer = Callable[[Answer], None]
BetweenSteps = Callable[[int], None]  # tokens produced so far; raises to cancel


class Engine(Protocol):
    """A resident base model that becomes one checkpoint after another.

    ``attach`` raises CheckpointRejected for what must not or cannot be loaded, CheckpointVanished when files
    disappear, DeviceOutOfMemory, or EngineError. ``detach`` restores the base bit for bit.
    """

    @property
    def info(self) -> EngineInfo: ...

    def attach(self, folder: Path) -> None:
        """Merge the adapter (or copy the full weights) in ``folder`` into the base."""
        ...

    def detach(self) -> None:
        """Undo ``attach``; without effect when nothing is attached."""
        ...

    def beside(self, training: bool) -> None:
        """Say whether a training runs on this machine: on a CPU half of the threads then do more than all of them."""
        ...

    def park(self) -> None:
        """Leave the device until the next ``attach`` or ``answer``; detaches. Without effect on the CPU."""
        ...

    def answer(
        self,
        requests: Sequence[Request],
        decoding: Decoding,
        on_answer: OnAnswer,
        between_steps: BetweenSteps,
        plan_for: Sequence[Request] = (),
    ) -> None:
        """Answer all requests; ``on_answer`` is called for each as soon as it is finished, in any order.

        Answers depend on checkpoint, request and decoding alone, not on the company a request keeps. ``plan_for`` is
        the whole suite when ``requests`` is what an interrupted evaluation left of it: the plan is made for all of it.
        """
        ...
