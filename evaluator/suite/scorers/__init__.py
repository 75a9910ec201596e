"""All scorers by name."""

from __future__ import annotations

from evaluator.suite.scorers import harness, sql, structured, text
from evaluator.suite.scorers.base import Context, Parameters, Scorer

SCORERS: dict[str, Scorer] = {
    scorer.name: scorer for scorer in (*text.SCORERS, *structured.SCORERS, *sql.SCORERS, *harness.SCORERS)
}

__all__ = ["SCORERS", "Context", "Parameters", "Scorer"]
