"""The help of every command, word for word: what the programs can be told cannot change without somebody noticing.

After a change that is meant: ``python -m tests.fakes.command_lines`` writes the pages anew.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.command_lines import PAGES, commands, help_page, page_of

REPOSITORY = Path(__file__).resolve().parents[2]
HEAVY = ("pyarrow", "sqlglot", "scipy", "transformers", "torch", "pydantic", "httpx", "starlette", "datasets")
PANEL = re.compile(r"╭─ (.+?) ─+╮")


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_the_help_is_as_it_was(words: tuple[str, ...]) -> None:
    assert help_page(words) == page_of(words).read_text()


def test_every_page_belongs_to_a_command() -> None:
    assert {path.name for path in PAGES.iterdir()} == {page_of(words).name for words in commands()}


@pytest.mark.parametrize("command", ["sidestep up", "sidestep-evaluator watch", "sidestep-evaluator rerun"])
def test_the_six_options_that_matter_most_come_first(command: str) -> None:
    page = help_page(command.split())
    assert PANEL.findall(page)[:2] == ["Arguments", "Most used"]
    panel = page.split("╭─ Most used ")[1].split("╰")[0]
    assert len(re.findall(r"^│ --", panel, re.MULTILINE)) == 6


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("sidestep", ["up", "--help"]),
        ("sidestep.trainer", ["--help"]),
        *[("sidestep.evaluator", [*words[1:], "--help"]) for words in commands() if words[0] == "sidestep-evaluator"],
    ],
    ids=str,
)
def test_help_loads_nothing_heavy(module: str, arguments: list[str]) -> None:
    assert _heavy_modules_of(module, arguments) == "[]"


def test_status_loads_nothing_heavy() -> None:
    """But pydantic, which reads reports; and that of an expert whose checks are SQL."""
    assert _heavy_modules_of("sidestep.evaluator", ["status", "examples/shop"]) == "['pydantic']"


def _heavy_modules_of(module: str, arguments: list[str]) -> str:
    """Run a program, and have it say at its end which of the heavy modules it has loaded."""
    code = (
        f"import atexit, runpy, sys; sys.argv[1:] = {arguments!r}\n"
        f"atexit.register(lambda: print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr))\n"
        f"runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return done.stderr.strip().splitlines()[-1]
