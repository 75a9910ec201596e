"""In which order checkpoints are evaluated. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from sidestep.evaluator.watching.scan import Candidate


class Order(StrEnum):
    """Newest first says something about now while training runs; what it leaves behind is taken when idle.

    Oldest first suits old checkpoints: each finds its predecessor already evaluated.
    """

    NEWEST = "newest"
    OLDEST = "oldest"


def ordered(work: Iterable[Candidate], order: Order) -> list[Candidate]:
    """Work in the order it should be done; those that only need a note (skipped, rejected) come first."""
    by_step = sorted(work, key=lambda each: (each.step, each.key), reverse=order is Order.NEWEST)
    return sorted(by_step, key=lambda each: bool(each.sources) and each.rejected is None)
