"""Writing suites: one to begin with, and what ``suite import`` makes of a task or a data set."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from sidestep.evaluator.commands.suite import ImportOptions
from sidestep.evaluator.suite.loading import load_suite
from sidestep.shared.errors import ConfigError, SuiteError
from sidestep.shared.files import replace_file, to_json

_TEMPLATE = {
    "test_suite": "my questions",
    "version": "1.0.0",
    "test_cases": [
        {"id": "greeting", "category": "chat", "prompt": "Say hello.", "expected_keywords": ["hello"]},
        {
            "id": "total",
            "category": "numbers",
            "system_prompt": "Answer with a number.",
            "prompt": "What is 6 times 7?",
            "reference": "42",
            "checks": [{"scorer": "number", "value": 42}],
        },
        {
            "id": "json",
            "category": "format",
            "prompt": "Describe a cat as a JSON object with the key legs.",
            "checks": [{"scorer": "json_schema", "schema": {"type": "object", "required": ["legs"]}}],
        },
    ],
}


def write_template(path: Path, force: bool) -> None:
    """Write a small suite to a file, or to its place in an expert's folder. Raises SuiteError."""
    target = path if path.suffix else path / "tests" / "test_cases.json"
    _write(target, _TEMPLATE, force)
    sys.stdout.write(f"{target}: 3 test cases; see docs/test-cases.md for all scorers\n")


def import_suite(source: str, options: ImportOptions, force: bool) -> None:
    """Write the suite that a task or a data set makes. Raises SuiteError or ConfigError."""
    output = options.output
    _require_free(output, force)
    if source.startswith("lm-eval:"):
        document = _from_harness(source.removeprefix("lm-eval:"), options)
    else:
        from sidestep.evaluator.suite.formats.data_sets import ColumnMapping, build_suite

        mapping = ColumnMapping.parse(list(options.column), list(options.check))
        document = build_suite(source, mapping, limit=options.limit, allow_hub=options.allow_hub)
    _write(output, document, force=True)
    suite = load_suite(output)
    sys.stdout.write(f"{output}: {len(suite.cases)} test cases, suite {suite.sha256[:12]}\n")


def _from_harness(task: str, options: ImportOptions) -> dict[str, Any]:
    include = options.include_path
    try:
        from sidestep.evaluator.suite.formats.harness import TASKS_FOLDER, build_rows, copy_task_files

        kept_in = f"{TASKS_FOLDER}/{task}" if include else None
        rows = build_rows(task, include, limit=options.limit, metric=options.metric, kept_in=kept_in)
    except ImportError as error:
        raise ConfigError("lm-evaluation-harness is missing", hint="pip install 'sidestep[lm-eval]'") from error
    if include and kept_in:
        copy_task_files(include, options.output.parent / kept_in)
    about = {"source": f"lm-eval:{task}", "harness": rows[0]["checks"][0]["harness"], "limit": options.limit}
    return {"test_suite": task, "version": "imported", "_provenance": about, "test_cases": rows}


def _write(target: Path, document: dict[str, Any], force: bool) -> None:
    _require_free(target, force)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        replace_file(target.absolute(), to_json(json.loads(json.dumps(document, default=str))))
    except OSError as error:
        raise SuiteError(f"{target} cannot be written: {error.strerror}") from error


def _require_free(target: Path, force: bool) -> None:
    if target.exists() and not force:
        raise SuiteError(f"{target} exists", hint="name another file, or replace it with --force")
