"""lm-evaluation-harness's own tasks, loaded by its own TaskManager, and turned into rows of our own format.

Only ``suite import`` and the worker come here: the harness brings torch along, which the supervisor must not load.
"""

from __future__ import annotations

import importlib.metadata
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sidestep.shared.errors import SuiteError

TASKS_FOLDER = "lm_eval_tasks"
DEFAULT_MAX_GEN_TOKENS = 256  # the harness's, where a task says nothing
_TASK_FILES = {".yaml", ".yml", ".py"}


def load_task(name: str, folder: str | None, *, documents: Sequence[dict[str, Any]] | None = None) -> Any:
    """The task. With ``documents``, it is built around these, already processed, instead of its data set."""
    from lm_eval.tasks import TaskManager

    tasks = TaskManager(include_path=folder, include_defaults=folder is None)
    if name not in tasks.all_subtasks:
        where = f"in {folder}" if folder else "that the harness brings"
        raise SuiteError(f"there is no task {name} {where}", hint="name one task, not a group or a tag")
    if documents is None:
        return tasks.load(name)["tasks"][name]
    return tasks.load(_group_around(name, documents))["tasks"][name]


def _group_around(name: str, documents: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A group of that one task whose data are the documents; groups are how the harness lets a task be changed."""
    import datasets

    data = datasets.Dataset.from_list(list(documents))
    splits = ("train", "validation", "test")
    changes = {
        "custom_dataset": lambda **_: datasets.DatasetDict(dict.fromkeys(splits, data)),
        "process_docs": None,
        "training_split": None,
        "validation_split": None,
        "test_split": "test",
        "fewshot_split": "test",
    }
    return {"group": "sidestep", "task": [{"task": name, **changes}]}


def build_rows(
    name: str, include: Path | None, *, limit: int | None = None, metric: str | None = None, kept_in: str | None = None
) -> list[dict[str, Any]]:
    """A row for each document of a ``generate_until`` task. ``kept_in``: where its files will lie beside the suite.

    Raises SuiteError for tasks that need anything but generated text.
    """
    task = load_task(name, str(include) if include else None)
    if task.config.output_type != "generate_until":
        raise SuiteError(
            f"the task {name} is of the kind {task.config.output_type}, which compares likelihoods",
            hint="only tasks of the kind generate_until can be evaluated; many have such a variant (…_gen, …_cot)",
        )
    metrics = [name for name in task._metric_fn_list if metric in (None, name)]
    if not metrics:
        raise SuiteError(f"the task {name} has no metric {metric}", hint=f"it has {', '.join(task._metric_fn_list)}")
    task.build_all_requests(
        limit=limit,
        apply_chat_template=True,
        fewshot_as_multiturn=True,
        chat_template=lambda messages, **_: json.dumps(messages),
    )
    chosen = {
        "task": name,
        "metric": metrics[0],
        "filter": task._filters[0].name,
        "folder": kept_in,
        "harness": importlib.metadata.version("lm-eval"),
    }
    return [_build_row(instance, {key: value for key, value in chosen.items() if value}) for instance in task.instances]


def _build_row(instance: Any, chosen: dict[str, Any]) -> dict[str, Any]:
    context, generation = instance.args
    until = generation.get("until") or []
    check = {
        "scorer": "lm_eval",
        **chosen,
        "doc": json.loads(json.dumps(instance.doc, default=str)),
        "until": [until] if isinstance(until, str) else list(until),
    }
    return {
        "id": f"{chosen['task']}-{instance.doc_id}",
        "category": chosen["task"],
        "messages": json.loads(context),
        "checks": [check],
        "max_new_tokens": int(generation.get("max_gen_toks") or DEFAULT_MAX_GEN_TOKENS),
    }


def copy_task_files(include: Path, target: Path) -> None:
    """Put the task's own files beside the suite, so that they are part of its identity; data stay where they are."""
    for path in sorted(include.rglob("*")):
        if path.is_file() and path.suffix in _TASK_FILES and "__pycache__" not in path.parts:
            copy = target / path.relative_to(include)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
