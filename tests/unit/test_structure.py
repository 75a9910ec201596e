"""What the architecture promises: who may import whom, no torch in the supervisor, files one can read in one go."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = ("trainer", "evaluator", "shared")
MAX_LINES = 400
MAX_FUNCTION_LINES = 60
HEAVY = ("torch", "transformers", "peft", "trl", "datasets")
# Everything that the supervisor and the commands consist of; the engine and the trainer's own modules may load torch.
LIGHT = (
    "shared.launch.command", "evaluator.commands.evaluating", "evaluator.working.supervisor",
    "evaluator.working.worker", "evaluator.suite.scoring", "evaluator.results.store", "trainer.cli",
    "trainer.config.reading",
)  # fmt: skip
# The layer table of docs/architecture.md, from the ground up: a layer imports only from those before it.
EVALUATOR_LAYERS = (
    "statistics", "cases", "settings", "watching", "suite", "engine", "results", "comparing", "presenting", "reporting",
    "sharing", "working", "exporting", "serving", "commands", "__main__",
)  # fmt: skip
SHARED_LAYERS = ("errors", "logs", "files", "records", "json_input", "protocol", "commands", "launch")


def _sources() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((REPOSITORY / package).rglob("*.py"))]


def _everything() -> list[Path]:
    folders = (*PACKAGES, "sidestep", "tests", "benchmarks", "examples")
    found = [path for folder in folders for path in sorted((REPOSITORY / folder).rglob("*.py"))]
    return [*found, REPOSITORY / "expert_trainer.py"]


def imported_modules(source: str) -> Iterator[str]:
    """The full name of every module that a file imports from, wherever in the file it does so."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _imports(path: Path) -> Iterator[str]:
    return imported_modules(path.read_text())


def old_names(source: str) -> list[str]:
    """Imports that find our folders under their own names, and so load every class in them a second time."""
    return [name for name in imported_modules(source) if name.split(".")[0] in PACKAGES]


def upward_imports(package: str, layers: Sequence[str], layer: str, source: str) -> list[str]:
    """Imports of layers that are above ``layer`` in the table."""
    prefix = f"sidestep.{package}."
    found = {name.removeprefix(prefix).split(".")[0] for name in imported_modules(source) if name.startswith(prefix)}
    return sorted(name for name in found & set(layers) if layers.index(name) > layers.index(layer))


def test_nothing_imports_the_folders_under_their_own_names() -> None:
    wrong = {
        str(path.relative_to(REPOSITORY)): found for path in _everything() if (found := old_names(path.read_text()))
    }
    assert wrong == {}


@pytest.mark.parametrize("line", ["import trainer", "from evaluator.cases import case", "import shared.files as f"])
def test_an_old_name_is_seen(line: str) -> None:
    assert old_names(f"def late() -> None:\n    {line}\n")


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


@pytest.mark.parametrize(("package", "layers"), [("evaluator", EVALUATOR_LAYERS), ("shared", SHARED_LAYERS)])
def test_layers_import_downwards_only(package: str, layers: tuple[str, ...]) -> None:
    root = REPOSITORY / package
    wrong = {}
    for path in sorted(root.rglob("*.py")):
        layer = path.relative_to(root).with_suffix("").parts[0]
        if layer in layers and (found := upward_imports(package, layers, layer, path.read_text())):
            wrong[str(path.relative_to(REPOSITORY))] = found
    assert wrong == {}


def test_an_upward_import_is_seen() -> None:
    planted = "from sidestep.evaluator.engine import protocol\nfrom sidestep.evaluator.cases.case import Case\n"
    assert upward_imports("evaluator", EVALUATOR_LAYERS, "suite", planted) == ["engine"]
    assert upward_imports("evaluator", EVALUATOR_LAYERS, "working", planted) == []


def circles(sources: dict[str, str]) -> list[list[str]]:
    """Modules that import each other, directly or around, by the names of modules and their sources."""
    imports = {name: set(imported_modules(source)) & set(sources) - {name} for name, source in sources.items()}
    reached = {name: set(others) for name, others in imports.items()}
    for through in sources:
        for others in reached.values():
            if through in others:
                others |= reached[through]
    found = {frozenset(other for other in reached[name] if name in reached[other]) for name in sources}
    return sorted(sorted(circle) for circle in found if circle)


@pytest.mark.parametrize("package", ["trainer", "shared"])
def test_no_modules_import_each_other(package: str) -> None:
    """Also not for types alone: two modules that need each other's names are one, or three."""
    paths = [path for path in (REPOSITORY / package).rglob("*.py") if path.name != "__init__.py"]
    names = {path: "sidestep." + ".".join(path.relative_to(REPOSITORY).with_suffix("").parts) for path in paths}
    assert circles({name: path.read_text() for path, name in names.items()}) == []


def test_a_circle_is_seen() -> None:
    sources = {"a": "import b", "b": "from c import x", "c": "if TYPE_CHECKING:\n    from a import y", "d": "import a"}
    assert circles(sources) == [["a", "b", "c"]]


def test_every_layer_stands_in_the_table_of_the_architecture() -> None:
    folders = {path.stem for path in (REPOSITORY / "evaluator").iterdir() if not path.name.startswith("__")}
    assert folders - set(EVALUATOR_LAYERS) == set()
    table = (REPOSITORY / "docs" / "architecture.md").read_text()
    assert [layer for layer in EVALUATOR_LAYERS[:-1] if f"`evaluator/{layer}" not in table] == []


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
