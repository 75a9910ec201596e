"""What is asked of an engine, what it answers, how answers are produced, and what the engine is."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field

import orjson

from sidestep.evaluator.cases.case import Message


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


@dataclass(frozen=True, kw_only=True)
class EngineInfo:
    """Where answers come from: those of another dtype or device are not the same experiment.

    ``base_fingerprint`` names the base model's weights and is identical for identical files. ``exact``: answers were
    found to be bit-identical whatever else is in the batch; null in reports of times when this was not said.
    """

    device: str = ""
    dtype: str = ""
    base_model: str = ""
    base_fingerprint: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    exact: bool | None = None
