"""In which order checkpoints are evaluated. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from sidestep.evaluator.settings import Order
from sidestep.evaluator.watching.scan import Candidate


def ordered(work: Iterable[Candidate], order: Order) -> list[Candidate]:
    """Work in the order it should be done; those that only need a note (skipped, rejected) come first."""
    by_step = sorted(work, key=lambda each: (each.step, each.key), reverse=order is Order.NEWEST)
    return sorted(by_step, key=lambda each: bool(each.sources) and each.rejected is None)
