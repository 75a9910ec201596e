"""Which language model judges, as the environment names it: a model, its address, and perhaps a key."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from sidestep.evaluator.cases.case import LLM_JUDGE
from sidestep.evaluator.suite.scorers.llm_grade import INSTRUCTIONS
from sidestep.shared.errors import SuiteError

URL_VARIABLE, MODEL_VARIABLE, KEY_VARIABLE = "SIDESTEP_JUDGE_URL", "SIDESTEP_JUDGE_MODEL", "SIDESTEP_JUDGE_KEY"


@dataclass(frozen=True)
class JudgeSettings:
    """Which model at which address. The key goes into a header, and nowhere else."""

    url: str
    model: str
    key: str | None = field(default=None, repr=False)

    @property
    def description(self) -> str:
        """Who judges, as it counts in the suite's hash and is named in reports: model, address, and what it is told."""
        return f"{self.model} at {self.url} (instructions {hashlib.sha256(INSTRUCTIONS.encode()).hexdigest()[:8]})"


def read_judge_settings() -> JudgeSettings:
    """The judge that the environment names. Raises SuiteError where it names none, or not properly."""
    url = os.environ.get(URL_VARIABLE, "").strip().rstrip("/")
    model = os.environ.get(MODEL_VARIABLE, "").strip()
    if not url or not model:
        raise SuiteError(
            f"the scorer {LLM_JUDGE} needs a judge, and {MODEL_VARIABLE if url else URL_VARIABLE} is not set",
            hint=f"set {URL_VARIABLE} (like https://example.org/v1), {MODEL_VARIABLE} and, if needed, {KEY_VARIABLE}",
        )
    if not _is_usable(url):
        raise SuiteError(
            f"{URL_VARIABLE} is not an address that can be used",
            hint=f"write it like https://example.org/v1, without password or query; a key goes into {KEY_VARIABLE}",
        )
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if not (key.isascii() and (not key or key.isprintable())):
        raise SuiteError(f"{KEY_VARIABLE} has characters that a key cannot have", hint="copy it again")
    return JudgeSettings(url, model, key or None)


def _is_usable(url: str) -> bool:
    try:
        parts = urlsplit(url)
        plain = not (parts.query or parts.fragment or "@" in parts.netloc)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and plain
    except ValueError:
        return False
