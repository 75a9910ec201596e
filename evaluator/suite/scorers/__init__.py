"""All scorers by name."""

from __future__ import annotations

from typing import Any

from sidestep.evaluator.suite.scorers import harness, installed, llm_judge, sql, structured, text
from sidestep.evaluator.suite.scorers.base import Context, Parameters, Scorer

_MODULES = (text, structured, sql, harness, installed, llm_judge)
# Any: each scorer takes parameters of its own class, which only build_check makes for it.
SCORERS: dict[str, Scorer[Any]] = {scorer.name: scorer for module in _MODULES for scorer in module.SCORERS}

__all__ = ["SCORERS", "Context", "Parameters", "Scorer"]
