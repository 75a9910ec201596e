"""Paths of a manifest, as seen from the manifest's folder; hub ids and absolute paths stay as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_DATA_SUFFIXES = {".json", ".jsonl", ".ndjson", ".csv", ".parquet"}
_TASK_FILES = ("train", "valid", "validation", "test")


def resolve_data_paths(values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The same configuration values with every path of data made one below ``folder`` where it is relative."""
    resolved = dict(values)
    for name in ("dataset_path", "validation_path", "test_path"):
        if isinstance(path := resolved.get(name), str):
            resolved[name] = relative_to(folder, path)
    cache = resolved.get("pretokenized_cache")
    if isinstance(cache, str) and cache and not Path(cache).expanduser().is_absolute():
        resolved["pretokenized_cache"] = str(folder / cache)
    block = resolved.get("multi_task_config")
    if isinstance(block, dict) and isinstance(block.get("tasks"), dict):
        tasks = {name: _task(task, folder) for name, task in block["tasks"].items()}
        resolved["multi_task_config"] = {**block, "tasks": tasks}
    return resolved


def _task(task: Any, folder: Path) -> Any:
    if not isinstance(task, dict):
        return task
    return {
        key: relative_to(folder, value) if key in _TASK_FILES and isinstance(value, str) else value
        for key, value in task.items()
    }


def relative_to(folder: Path, value: str) -> str:
    """A path below ``folder`` where it is one, or by its suffix must be one."""
    local, marked, split = value.partition("::")
    if not local or Path(local).expanduser().is_absolute():
        return value
    inside = folder / local
    is_local = inside.exists() or Path(local).suffix.lower() in _DATA_SUFFIXES or local.startswith(".")
    return f"{inside}{marked}{split}" if is_local else value
