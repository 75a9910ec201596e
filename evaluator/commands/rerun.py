"""``sidestep-evaluator rerun``: evaluate checkpoints that are there already."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from sidestep.shared.commands.options import FIRST, THIS_COMMAND, EvaluationOptions, ExpertPath


@Parameter(name="*", group=THIS_COMMAND)
@dataclass(frozen=True, kw_only=True)
class RerunOptions:
    """Which checkpoints."""

    checkpoints: Annotated[str | None, Parameter(group=FIRST)] = None
    """Steps, such as 250,500; default: all."""
    force: bool = False
    """Also those that have a report; the old one is kept."""
    accept_unmarked: bool = False
    """Also checkpoints without a marker that are provably complete."""


def rerun(
    path: ExpertPath,
    /,
    *,
    which: RerunOptions = RerunOptions(),
    evaluation: EvaluationOptions = EvaluationOptions(),
) -> None:
    """Evaluate old checkpoints, oldest first."""
    from sidestep.evaluator.commands.evaluating import evaluate_again

    evaluate_again(path, which, evaluation)
