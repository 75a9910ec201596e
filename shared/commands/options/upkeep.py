"""Options of how an evaluator goes about its work, and of how programs log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from sidestep.shared.commands.options.panels import HIDDEN, UPKEEP


@Parameter(name="*", group=UPKEEP)
@dataclass(frozen=True, kw_only=True)
class UpkeepOptions:
    """How an evaluator goes about it."""

    keep_reports: Annotated[int | None, Parameter(validator=Number(gte=0))] = None
    """Compress all but the newest N reports; nothing is lost. Default: the manifest's evaluation.keep_reports."""
    poll_seconds: Annotated[float, Parameter(validator=Number(gte=0.05))] = 5.0
    """Look for new checkpoints at least this often, in seconds."""
    stall_timeout: Annotated[float, Parameter(validator=Number(gte=1))] = 600.0
    """Seconds of silence before a worker is replaced."""
    retry_seconds: Annotated[float, HIDDEN, Parameter(validator=Number(gte=0))] = 5.0
    """Pause before a failed attempt is repeated, in seconds."""


@Parameter(name="*", group=UPKEEP)
@dataclass(frozen=True, kw_only=True)
class LogOptions:
    """How the program logs; lines go to standard error."""

    log_json: bool = False
    """Log JSON lines instead of text."""
