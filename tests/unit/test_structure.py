"""What the architecture promises: who may import whom, no torch in the supervisor, files one can read in one go."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = ("trainer", "evaluator", "shared")
MAX_LINES = 400
MAX_FUNCTION_LINES = 60
HEAVY = ("torch", "transformers", "peft", "trl", "datasets")
# Everything that the supervisor and the commands consist of; the engine and the trainer's own modules may load torch.
LIGHT = (
    "shared.launch_cli", "evaluator.cli", "evaluator.working.supervisor", "evaluator.working.worker",
    "evaluator.suite.scoring", "evaluator.reporting.store", "trainer.cli", "trainer.config_reading",
)  # fmt: skip


def _sources() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((REPOSITORY / package).rglob("*.py"))]


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [("shared", ("trainer", "evaluator")), ("trainer", ("evaluator",)), ("evaluator", ("trainer",))],
)
def test_imports_go_to_shared_only(package: str, forbidden: tuple[str, ...]) -> None:
    wrong = [
        f"{path.relative_to(REPOSITORY)} imports {name}"
        for path in sorted((REPOSITORY / package).rglob("*.py"))
        for name in _imports(path)
        if name.startswith(tuple(f"sidestep.{other}" for other in forbidden))
    ]
    assert wrong == []


@pytest.mark.parametrize("module", LIGHT)
def test_loads_without_torch(module: str) -> None:
    code = f"import sidestep.{module}, sys; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_only_the_engine_and_the_trainer_name_torch() -> None:
    named = {
        str(path.relative_to(REPOSITORY))
        for path in _sources()
        if any(n.split(".")[0] == "torch" for n in _imports(path))
    }
    assert all(name.startswith(("trainer/", "evaluator/engine/")) for name in named)


def test_files_and_functions_can_be_read_in_one_go() -> None:
    long = []
    for path in [
        *_sources(),
        *sorted((REPOSITORY / "tests").rglob("*.py")),
        *sorted((REPOSITORY / "benchmarks").rglob("*.py")),
    ]:
        text = path.read_text()
        if len(text.splitlines()) > MAX_LINES:
            long.append(f"{path.relative_to(REPOSITORY)}: {len(text.splitlines())} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and (node.end_lineno or 0) - node.lineno >= MAX_FUNCTION_LINES:
                long.append(f"{path.relative_to(REPOSITORY)}: {node.name} is longer than {MAX_FUNCTION_LINES} lines")
    assert long == []


def test_every_module_says_why_it_exists() -> None:
    silent = [
        str(path.relative_to(REPOSITORY))
        for path in _sources()
        if path.stat().st_size and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert silent == []
