"""Options of the model, and of how the evaluator loads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from sidestep.shared.commands.choices import Dtype
from sidestep.shared.commands.options.panels import FIRST, HIDDEN, MODEL


@Parameter(name="*", group=MODEL)
@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """The model that is trained and evaluated, and the device that does it."""

    base_model: Annotated[str | None, Parameter(group=FIRST)] = None
    """Where the base model is: a folder, or a hub id; default: what the manifest says."""
    device: Annotated[str | None, Parameter(group=FIRST)] = None
    """auto, cpu, cuda or cuda:N; default: auto, and in training what the manifest says."""


@Parameter(name="*", group=MODEL)
@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """How the evaluator loads the base model."""

    dtype: Dtype = Dtype.AUTO
    """Precision; auto takes what the device computes fast; int8 and int4 quantize the base model."""
    allow_hub: bool = False
    """The base model may be fetched from the hub."""
    engine: Annotated[str | None, HIDDEN] = None
    """Engine factory, as module:function."""
