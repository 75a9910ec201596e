"""What ``suite check`` and ``suite show`` print."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table

from sidestep.evaluator.suite.loading import load_suite
from sidestep.evaluator.suite.mistakes import Mistake, find_mistakes
from sidestep.evaluator.suite.scorers.base import shortened
from sidestep.shared.logs import terminal_safe
from sidestep.shared.protocol.place import find_place


def print_mistakes(path: Path) -> bool:
    """Every mistake of a suite with its line, or that there is none; whether it can be used. Raises SuiteError."""
    target = _suite_file(path)
    found = find_mistakes(target)
    for mistake in found:
        sys.stdout.write(f"{terminal_safe(_line(target, mistake))}\n")
    if any(not mistake.warning for mistake in found):
        return False
    suite = load_suite(target)
    sys.stdout.write(f"{target}: {len(suite.cases)} test cases, no mistakes, suite {suite.sha256[:12]}\n")
    return True


def print_cases(path: Path) -> None:
    """A table of all cases, and how often each scorer is used. Raises SuiteError."""
    suite = load_suite(_suite_file(path))
    table = Table("case", "category", "checks", "prompt", title=terminal_safe(f"{suite.name} {suite.version}"))
    for case in suite.cases:
        checks = ", ".join(check.scorer for check in case.checks) or "none: unscored"
        prompt = shortened(case.messages[-1].content, 60)
        table.add_row(*map(terminal_safe, (case.id, case.category, checks, prompt)))
    console = Console()
    console.print(table, markup=False)
    by_scorer = Counter(check.scorer for case in suite.cases for check in case.checks)
    console.print(f"{len(suite.cases)} cases; checks: {dict(by_scorer)}; suite {suite.sha256}", highlight=False)


def _suite_file(path: Path) -> Path:
    if not path.is_dir():
        return path
    place = find_place(path)
    return (place.expert or place.weights.expert).suite


def _line(path: Path, mistake: Mistake) -> str:
    kind = "warning" if mistake.warning else "error"
    hint = f" ({mistake.hint})" if mistake.hint else ""
    return f"{path}:{mistake.line}: {kind}: {mistake.message}{hint}"
