"""Options of what a checkpoint must fulfil, and of what the exit code says about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from sidestep.shared.commands.options.panels import FIRST, GATES, RATE


@Parameter(name="*", group=GATES)
@dataclass(frozen=True, kw_only=True)
class FailOptions:
    """Whether the exit code says what the results are."""

    fail_on_regression: Annotated[bool, Parameter(group=FIRST)] = False
    """Exit with 3 when the newest checkpoint's (compare: B's) verdict is worse, or a gate refuses it."""


@Parameter(name="*", group=GATES)
@dataclass(frozen=True, kw_only=True)
class RegressionGateOptions:
    """Gates on what became worse."""

    max_drop: Annotated[float | None, Parameter(validator=RATE)] = None
    """Largest drop of the success rate, 0 to 1."""
    forbid_regression: Annotated[tuple[str, ...], Parameter(metavar="CASE")] = ()
    """A case that must not break, or all; repeatable."""


@Parameter(name="*", group=GATES)
@dataclass(frozen=True, kw_only=True)
class GateOptions(RegressionGateOptions):
    """The same, and gates on rates by themselves. They are added to the manifest's evaluation.gates."""

    min_success_rate: Annotated[float | None, Parameter(validator=RATE)] = None
    """Lowest success rate, 0 to 1."""
    min_category_rate: Annotated[tuple[str, ...], Parameter(metavar="NAME=RATE")] = ()
    """Lowest success rate of a category; repeatable."""
