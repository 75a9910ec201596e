"""Options of what comes first, and of what the evaluator may take from training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from sidestep.shared.commands.choices import Order
from sidestep.shared.commands.options.panels import FIRST, SHARING


@Parameter(name="*", group=SHARING)
@dataclass(frozen=True, kw_only=True)
class SharingOptions:
    """What comes first, and what the evaluator may take."""

    max_slowdown: Annotated[float, Parameter(group=FIRST, validator=Number(gte=0))] = 0.02
    """What training may lose: 0.02 is 2 % slower steps; 0: only what it leaves over (docs/sharing-the-device.md)."""
    deadline: Annotated[float | None, Parameter(validator=Number(gte=0.001))] = None
    """Longest evaluation of one checkpoint, in seconds; default: no limit."""
    order: Order | None = None
    """Which checkpoint comes first when several wait; default: newest, for rerun oldest."""
