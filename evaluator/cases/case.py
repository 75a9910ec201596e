"""What a test case is, whichever file format it came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel

DEFAULT_CATEGORY = "uncategorised"
LLM_JUDGE = "judge"  # the scorer that asks a language model


@dataclass(frozen=True)
class Message:
    """One turn of the conversation that precedes the answer."""

    role: str  # system | user | assistant
    content: str


@dataclass(frozen=True)
class Check:
    """One scorer with its parameters; a case passes when every check passes.

    ``parameters`` are as given in the file: they are part of the suite's hash. ``validated`` are the same as the
    scorer takes them, kept from when the suite was loaded (evaluator.suite.checks).
    """

    scorer: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    validated: BaseModel | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Case:
    """A prompt and what its answer must satisfy.

    A case without checks expects nothing that can be decided: it is answered and reported ``unscored``.
    A case with ``may_fail`` is reported separately, as expected failure or unexpected pass.
    """

    id: str
    name: str
    messages: tuple[Message, ...]
    checks: tuple[Check, ...] = ()
    category: str = DEFAULT_CATEGORY
    may_fail: bool = False
    failure_reason: str | None = None
    weight: float = 1.0
    reference: str | None = None
    expected_keywords: tuple[str, ...] = ()
    max_new_tokens: int | None = None


@dataclass(frozen=True)
class Suite:
    """All cases of one file.

    ``sha256`` covers everything that can change a result: cases, checks and the contents of fixtures.
    ``warnings`` are the things in the file that were understood in a way its author may not have meant.
    """

    name: str
    version: str
    cases: tuple[Case, ...]
    sha256: str
    source: Path | None = None
    description: str = ""
    warnings: tuple[str, ...] = ()
