"""Tasks of lm-evaluation-harness: the answer goes through the task's own filters and its own ``process_results``.

The task is built by the harness's own TaskManager from the files that ``suite import`` put beside the suite, around
the one document of the case, so that nothing is downloaded. The harness is imported when the first case is scored, in
the worker: it brings torch along.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import math
from pathlib import Path
from typing import Any

from sidestep.evaluator.cases.result import TOP_SCORE, CheckResult
from sidestep.evaluator.suite.scorers.base import Context, Parameters, Scorer, check_result, shortened

NAME = "lm_eval"


class HarnessParameters(Parameters):
    """One document of a task. ``metric`` and ``filter`` as the harness prints them; passed from ``at_least`` on.

    ``folder`` holds the task's files, relative to the suite; None for a task that the harness itself brings.
    """

    task: str
    doc: dict[str, Any]
    metric: str = "exact_match"
    filter: str = "none"
    folder: str | None = None
    harness: str = ""  # the version of the harness that the case was made with; another one is a warning
    until: tuple[str, ...] = ()
    at_least: float = 1.0


def score_harness(parameters: HarnessParameters, answer: str, context: Context) -> CheckResult:
    from lm_eval.api.instance import Instance

    task = _task(parameters, context.folder)
    instance = Instance(request_type="generate_until", doc=parameters.doc, arguments=("", {}), idx=0)
    instance.resps = [cut(answer, parameters.until)]
    instance.task_name, instance.doc_id, instance.repeats = parameters.task, 0, 1
    task._instances = [instance]
    task.apply_filters()
    results = task.process_results(parameters.doc, [instance.filtered_resps[parameters.filter]])
    value = float(results[parameters.metric])
    passed = math.isfinite(value) and value >= parameters.at_least
    score = TOP_SCORE * min(max(value, 0.0), 1.0) if math.isfinite(value) else 0.0
    filtered = shortened(instance.filtered_resps[parameters.filter], 60)
    return check_result(NAME, passed, f"{parameters.metric} {value:g} of {filtered}", score)


def cut(answer: str, until: tuple[str, ...]) -> str:
    """The answer up to the first of the task's stop strings, as the harness cuts it."""
    for stop in until:
        if stop:
            answer = answer.split(stop)[0]
    return answer


def harness_problem(parameters: HarnessParameters, folder: Path) -> str | None:
    """Why this check could never pass: the harness is not installed."""
    if importlib.util.find_spec("lm_eval") is None:
        return "lm-evaluation-harness is not installed (pip install 'sidestep[lm-eval]')"
    installed = importlib.metadata.version("lm-eval")
    if parameters.harness and parameters.harness != installed:
        return f"was made with lm-eval {parameters.harness}, and {installed} is installed: import it again"
    return None


_tasks: dict[tuple[str, str | None], Any] = {}


def _task(parameters: HarnessParameters, suite_folder: Path) -> Any:
    """The task, built once for each process around the first document that is scored."""
    from sidestep.evaluator.suite.formats.harness import load_task

    folder = str(suite_folder / parameters.folder) if parameters.folder else None
    key = (parameters.task, folder)
    if key not in _tasks:
        _tasks[key] = load_task(*key, documents=[parameters.doc])
    return _tasks[key]


SCORERS = (Scorer(NAME, HarnessParameters, score_harness, harness_problem, files=("folder",)),)
