"""Whose fault is it when every attempt at a task has failed? The checkpoint's only if others can be evaluated.

A package that is missing, a driver that crashes, a deadline that nothing can meet: all of that meets every checkpoint.
It must end the evaluator, with all checkpoints as they were, and not one checkpoint after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sidestep.evaluator.watching.tasks import Task
from sidestep.evaluator.working.task_history import TaskHistory
from sidestep.shared.errors import EvaluatorFault

FAULT_HINT = "every checkpoint stays pending; when the cause is mended, the evaluator takes them up again"


def is_task_to_blame(
    task: Task, reason: str, others: Sequence[Task], history: TaskHistory, base_answers: Callable[[], bool]
) -> bool:
    """Whether an exhausted task ends by its own fault. False: not known yet, others have to be tried first.

    Known from ``history`` when this run has evaluated a checkpoint; else, with nothing else to try, from
    ``base_answers``, which asks the base model. Raises EvaluatorFault when nothing can be evaluated.
    """
    if history.has_evaluated:
        return True
    history.note_exhausted(task, reason)
    if len(history.exhausted) > 1 or task.candidate is None:
        raise EvaluatorFault(f"no checkpoint can be evaluated: {task.identity.label}: {reason}", hint=FAULT_HINT)
    if others:
        return False
    if base_answers():
        return True
    raise EvaluatorFault(f"nothing can be evaluated: {task.identity.label}: {reason}", hint=FAULT_HINT)
