"""``sidestep-evaluator watch``: evaluate what a training publishes, while it does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from sidestep.shared.commands.options import FIRST, HIDDEN, THIS_COMMAND, EvaluationOptions, ExpertPath


@Parameter(name="*", group=THIS_COMMAND)
@dataclass(frozen=True, kw_only=True)
class WatchOptions:
    """What is looked for, and when the watching ends."""

    once: Annotated[bool, Parameter(group=FIRST)] = False
    """Evaluate what is pending now, then end."""
    until_idle: Annotated[float | None, Parameter(validator=Number(gte=0))] = None
    """End after this many seconds without work; default: go on."""
    adopt: bool = False
    """Also checkpoints without a marker, once they are provably complete."""
    drain_on_stdin_close: Annotated[bool, HIDDEN] = False
    """Finish what is pending and end when standard input is closed."""


def watch(
    path: ExpertPath,
    /,
    *,
    watching: WatchOptions = WatchOptions(),
    evaluation: EvaluationOptions = EvaluationOptions(),
) -> None:
    """Evaluate checkpoints as they are published, until stopped. Waits for a folder that does not exist yet."""
    from sidestep.evaluator.commands.evaluating import evaluate_published

    evaluate_published(path, watching, evaluation)
