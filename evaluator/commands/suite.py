"""``sidestep-evaluator suite``: begin a suite, check it, look at it, or make one from a task or a data set."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from sidestep.evaluator.commands.options import Options
from sidestep.evaluator.suite.loading import load_suite
from sidestep.evaluator.suite.mistakes import Mistake, find_mistakes
from sidestep.evaluator.suite.scorers.base import shortened
from sidestep.shared.commands.exit_codes import EXIT_FAILURE
from sidestep.shared.errors import ConfigError, SuiteError
from sidestep.shared.files import replace_file, to_json
from sidestep.shared.logs import configure_logging, terminal_safe

app = typer.Typer(no_args_is_help=True, help="Begin, check, show and import test cases.")

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

PathArgument = Annotated[Path, typer.Argument(metavar="PATH", help="A suite's file, or an expert's folder.")]


@app.command()
def init(
    path: PathArgument,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write a small suite to begin with: three cases that show keywords, a number and a JSON Schema."""
    configure_logging()
    target = path if path.suffix else path / "tests" / "test_cases.json"
    _write(target, _TEMPLATE, force)
    typer.echo(f"{target}: 3 test cases; see docs/test-cases.md for all scorers")


@app.command()
def check(path: PathArgument) -> None:
    """Name every mistake with its line and what to do; exit with 1 when there is one."""
    configure_logging()
    target = _suite_file(path)
    found = find_mistakes(target)
    for each in found:
        typer.echo(terminal_safe(_line(target, each)))
    if any(not each.warning for each in found):
        raise typer.Exit(EXIT_FAILURE)
    suite = load_suite(target)
    typer.echo(f"{target}: {len(suite.cases)} test cases, no mistakes, suite {suite.sha256[:12]}")


@app.command()
def show(path: PathArgument) -> None:
    """Print every case with its checks."""
    configure_logging()
    suite = load_suite(_suite_file(path))
    table = Table("case", "category", "checks", "prompt", title=terminal_safe(f"{suite.name} {suite.version}"))
    for case in suite.cases:
        checks = ", ".join(each.scorer for each in case.checks) or "none: unscored"
        prompt = shortened(case.messages[-1].content, 60)
        table.add_row(*map(terminal_safe, (case.id, case.category, checks, prompt)))
    console = Console()
    console.print(table, markup=False)
    by_scorer = Counter(each.scorer for case in suite.cases for each in case.checks)
    console.print(f"{len(suite.cases)} cases; checks: {dict(by_scorer)}; suite {suite.sha256}", highlight=False)


@app.command(name="import")
def import_(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="lm-eval:TASK, a data file, or a Hub id as name::split::config.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The suite to write, .json.")],
    include_path: Annotated[Path | None, typer.Option(help="Folder with a task of your own.")] = None,
    metric: Annotated[str | None, typer.Option(help="The task's metric; default: its first.")] = None,
    column: Annotated[
        list[str] | None, typer.Option(help="ours=theirs, such as prompt=question; may be repeated.")
    ] = None,
    check: Annotated[
        list[str] | None,
        typer.Option(help="A check for every case, as JSON; {{column}} is filled in."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Take this many rows.")] = None,
    allow_hub: Annotated[bool, typer.Option("--allow-hub", help="The data set may be fetched from the hub.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Make a suite from a task of lm-evaluation-harness or a data set; it says where it came from."""
    configure_logging()
    _must_be_free(output, force)
    if source.startswith("lm-eval:"):
        document = _from_harness(source.removeprefix("lm-eval:"), output, include_path, metric, limit)
    else:
        from sidestep.evaluator.suite.formats.data_sets import ColumnMapping, build_suite

        document = build_suite(source, ColumnMapping.parse(column or [], check or []), limit=limit, allow_hub=allow_hub)
    _write(output, document, force=True)
    suite = load_suite(output)
    typer.echo(f"{output}: {len(suite.cases)} test cases, suite {suite.sha256[:12]}")


def _from_harness(
    task: str, output: Path, include: Path | None, metric: str | None, limit: int | None
) -> dict[str, Any]:
    try:
        from sidestep.evaluator.suite.formats.harness import TASKS_FOLDER, build_rows, copy_task_files

        kept_in = f"{TASKS_FOLDER}/{task}" if include else None
        rows = build_rows(task, include, limit=limit, metric=metric, kept_in=kept_in)
    except ImportError as error:
        raise ConfigError("lm-evaluation-harness is missing", hint="pip install 'sidestep[lm-eval]'") from error
    if include and kept_in:
        copy_task_files(include, output.parent / kept_in)
    about = {"source": f"lm-eval:{task}", "harness": rows[0]["checks"][0]["harness"], "limit": limit}
    return {"test_suite": task, "version": "imported", "_provenance": about, "test_cases": rows}


def _suite_file(path: Path) -> Path:
    if not path.is_dir():
        return path
    place = Options(path).place()
    return (place.expert or place.weights.expert).suite


def _write(target: Path, document: dict[str, Any], force: bool) -> None:
    _must_be_free(target, force)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        replace_file(target.absolute(), to_json(json.loads(json.dumps(document, default=str))))
    except OSError as error:
        raise SuiteError(f"{target} cannot be written: {error.strerror}") from error


def _must_be_free(target: Path, force: bool) -> None:
    if target.exists() and not force:
        raise SuiteError(f"{target} exists", hint="name another file, or replace it with --force")


def _line(path: Path, mistake: Mistake) -> str:
    kind = "warning" if mistake.warning else "error"
    hint = f" ({mistake.hint})" if mistake.hint else ""
    return f"{path}:{mistake.line}: {kind}: {mistake.message}{hint}"
