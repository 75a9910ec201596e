"""Options of a training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from sidestep.shared.commands.options.panels import FIRST, TRAINING


@Parameter(name="*", group=TRAINING)
@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """What people change first in a training; all other fields are in the manifest, and within reach of --set."""

    max_steps: Annotated[int | None, Parameter(group=FIRST, validator=Number(gte=1))] = None
    """Optimizer steps; overrides epochs."""
    epochs: Annotated[float | None, Parameter(validator=Number(gte=0))] = None
    """Passes over the data; may be fractional."""
    save_steps: Annotated[int | None, Parameter(validator=Number(gte=1))] = None
    """Steps between checkpoints."""
    resume: str | None = None
    """A checkpoint folder, or latest."""
    allow_unquantized: bool = False
    """Train without quantization where the device cannot quantize."""
    set: Annotated[tuple[str, ...], Parameter(metavar="FIELD=VALUE")] = ()
    """Any other field of the training; repeatable."""
