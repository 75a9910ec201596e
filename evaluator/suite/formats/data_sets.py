"""A data set as test cases, through ``datasets``: a file, a saved folder, or a Hub id as ``name::split::config``.

Only ``suite import`` comes here: ``datasets`` loads torch where it is installed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import orjson
from jinja2.sandbox import SandboxedEnvironment

from sidestep.evaluator.suite.formats import chat
from sidestep.shared.errors import ConfigError, SuiteError

_FORMATS = {".jsonl": "json", ".json": "json", ".csv": "csv", ".parquet": "parquet", ".tsv": "csv"}
_ENVIRONMENT = SandboxedEnvironment(undefined=jinja2.StrictUndefined)


@dataclass(frozen=True)
class ColumnMapping:
    """Which of their columns is which of our keys, and the checks that every case gets."""

    columns: dict[str, str]
    checks: tuple[dict[str, Any], ...]

    @classmethod
    def parse(cls, columns: Sequence[str], checks: Sequence[str]) -> ColumnMapping:
        """From ``prompt=question`` and JSON. Raises ConfigError."""
        pairs = [column.partition("=") for column in columns]
        wrong = [whole for whole, (ours, _, theirs) in zip(columns, pairs, strict=True) if not ours or not theirs]
        if wrong:
            raise ConfigError(f"--column {wrong[0]!r} is not a pair", hint="write it like prompt=question")
        parsed = []
        for text in checks:
            try:
                parsed.append(orjson.loads(text))
            except orjson.JSONDecodeError as error:
                raise ConfigError(f"--check {text!r} is not valid JSON: {error.msg}") from error
            if not isinstance(parsed[-1], dict):
                raise ConfigError(f"--check {text!r} is not an object", hint='write it like {"scorer": "exact", …}')
        return cls({ours: theirs for ours, _, theirs in pairs}, tuple(parsed))


def build_suite(source: str, mapping: ColumnMapping, *, limit: int | None, allow_hub: bool) -> dict[str, Any]:
    """The document of a suite, with where it came from. Raises SuiteError."""
    data = _load(source, allow_hub)
    missing = sorted(set(mapping.columns.values()) - set(data.column_names))
    if missing:
        raise SuiteError(f"{source} has no column {', '.join(missing)}", hint=f"it has {', '.join(data.column_names)}")
    rows = data.select(range(min(limit or len(data), len(data))))
    cases = [_build_row(row, number, mapping, source) for number, row in enumerate(rows)]
    about = {"source": source, "fingerprint": data._fingerprint, "rows": len(data), "columns": mapping.columns}
    return {"test_suite": Path(source.partition("::")[0]).stem, "version": "imported", "_provenance": about,
            "test_cases": cases}  # fmt: skip


def _load(source: str, allow_hub: bool) -> Any:
    import datasets

    path = Path(source)
    if path.is_file() and path.suffix in _FORMATS:
        options = {"delimiter": "\t"} if path.suffix == ".tsv" else {}
        return datasets.load_dataset(_FORMATS[path.suffix], data_files=str(path), split="train", **options)
    if path.is_dir():
        saved = datasets.load_from_disk(str(path))
        return next(iter(saved.values())) if isinstance(saved, datasets.DatasetDict) else saved
    if not allow_hub:
        raise SuiteError(
            f"{source} is not a data file on this machine", hint="a Hub data set is fetched only with --allow-hub"
        )
    name, _, rest = source.partition("::")
    split, _, config = rest.partition("::")
    return datasets.load_dataset(name, config or None, split=split or "test")


def _build_row(row: dict[str, Any], number: int, mapping: ColumnMapping, source: str) -> dict[str, Any]:
    used = set(mapping.columns.values())
    case = {ours: row[theirs] for ours, theirs in mapping.columns.items()}
    known = ("id", "messages", "prompt", "question", "instruction", "answer", "response", "output", "completion",
             "reference", "category", "system_prompt")  # fmt: skip
    case |= {key: row[key] for key in known if key in row and key not in used and row[key] is not None}
    case = chat.to_case_row(case)
    case.setdefault("id", f"row-{number + 1}")
    if isinstance(case.get("reference"), (int, float)):
        case["reference"] = str(case["reference"])
    checks = [_fill(check, row, f"{source}: row {number + 1}") for check in mapping.checks]
    return json.loads(json.dumps(case | ({"checks": checks} if checks else {}), default=str))  # type: ignore[no-any-return]


def _fill(value: Any, row: dict[str, Any], where: str) -> Any:
    """``{{column}}`` replaced; a text that is nothing else keeps the column's type."""
    if isinstance(value, dict):
        return {key: _fill(member, row, where) for key, member in value.items()}
    if isinstance(value, list):
        return [_fill(member, row, where) for member in value]
    if not isinstance(value, str) or "{{" not in value:
        return value
    name = value.strip().removeprefix("{{").removesuffix("}}").strip()
    if name in row:
        return row[name]
    try:
        return _ENVIRONMENT.from_string(value).render(row)
    except jinja2.TemplateError as error:
        raise SuiteError(f"{where}: {error}", hint="name a column of the data set") from error
