"""What supervisor and worker say to each other: one JSON document a line, over the worker's own pipes.

JSON and not pickle: the worker reads untrusted input, and the supervisor must not trust what it turns into.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Discriminator, TypeAdapter

from sidestep.evaluator.cases.exchange import Decoding, EngineInfo
from sidestep.evaluator.cases.result import CaseResult, NoiseFloor, Sharing
from sidestep.evaluator.settings import EngineSettings
from sidestep.shared.files import to_json_line
from sidestep.shared.protocol.marker import FileEntry


@dataclass(frozen=True)
class Start:
    """First line: which engine to build (``module:function``) and how."""

    factory: str
    settings: EngineSettings
    log_json: bool = False
    max_slowdown: float | None = None  # what training beside the worker may lose; None: no limit
    kind: Literal["start"] = "start"


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """Evaluate one checkpoint, or the base model when ``files`` is None.

    ``number`` is what every event about it names. ``sources`` are the folders the files may be read from, best first.
    ``done`` are the ids of cases already answered. After ``deadline_seconds`` the worker gives up.
    """

    number: int = 0
    label: str
    sources: tuple[Path, ...]
    files: tuple[FileEntry, ...] | None
    suite_path: Path
    suite_sha256: str
    decoding: Decoding
    done: tuple[str, ...] = ()
    paces: tuple[Path, ...] = ()  # where trainings leave their pace (shared.protocol.pace)
    deadline_seconds: float | None = None
    trained_on: str | None = None  # fingerprint of the base model that the training had, where it is known
    kind: Literal["assignment"] = "assignment"


@dataclass(frozen=True)
class Ready:
    """The base model is resident."""

    info: EngineInfo
    kind: Literal["ready"] = "ready"


@dataclass(frozen=True)
class CaseDone:
    """One case of assignment ``number`` is answered and scored."""

    number: int
    result: CaseResult
    kind: Literal["case"] = "case"


@dataclass(frozen=True)
class Progress:
    """The worker is alive and this far: what it is doing, tokens produced so far. ``number``: 0 while it starts."""

    doing: str
    tokens: int = 0
    number: int = 0
    kind: Literal["progress"] = "progress"


@dataclass(frozen=True)
class Finished:
    """All cases of assignment ``number`` are answered."""

    attach_seconds: float = 0.0
    generate_seconds: float = 0.0
    sharing: Sharing = field(default_factory=Sharing)
    noise: NoiseFloor = field(default_factory=NoiseFloor)
    number: int = 0
    kind: Literal["finished"] = "finished"


class FailureKind(StrEnum):
    """What follows from a failure."""

    REJECTED = "rejected"  # the checkpoint's end
    VANISHED = "vanished"  # its end as well
    DEADLINE = "deadline"  # and this
    UNFIT = "unfit"  # it does not fit this base model, which may be the wrong one: it stays pending
    ATTEMPT = "attempt"  # a failed attempt, which may be repeated
    FATAL = "fatal"  # no checkpoint can be evaluated until somebody changes something (no base model, say)


@dataclass(frozen=True)
class Failed:
    """The assignment ``number`` (or with 0 the start) failed."""

    failure: FailureKind
    message: str
    hint: str | None = None
    number: int = 0
    worker_ends: bool = False  # the worker exits after this and must not be given anything else
    kind: Literal["failed"] = "failed"


Event = Ready | CaseDone | Progress | Finished | Failed
Command = Start | Assignment

_events: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Discriminator("kind")])
_commands: TypeAdapter[Command] = TypeAdapter(Annotated[Command, Discriminator("kind")])


def encode(message: Event | Command) -> bytes:
    """One line. Lone surrogates, which a broken tokenizer can produce, are replaced."""
    adapter: TypeAdapter[Event] | TypeAdapter[Command] = (
        _commands if isinstance(message, (Start, Assignment)) else _events
    )
    return to_json_line(adapter.dump_python(message))  # type: ignore[arg-type]


def decode_event(line: bytes) -> Event:
    """Raises ValueError (pydantic's) for anything that is not an event."""
    return _events.validate_json(line)


def decode_command(line: bytes) -> Command:
    return _commands.validate_json(line)
