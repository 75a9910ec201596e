"""The three programs as the tests see them: their commands, their help pages, and command lines parsed but not run."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from cyclopts import App
from rich.console import Console

from sidestep.evaluator.commands.app import program as evaluator
from sidestep.shared.commands.program import Program
from sidestep.shared.launch.command import program as sidestep
from sidestep.trainer.cli import program as trainer

PROGRAMS: dict[str, Program] = {program.name: program for program in (sidestep, trainer, evaluator)}
PAGES = Path(__file__).resolve().parents[1] / "unit" / "help"
COLUMNS = 100


def commands() -> list[tuple[str, ...]]:
    """Every program and every command, as words."""
    return [words for name, program in PROGRAMS.items() for words in _commands((name,), program.app)]


def _commands(words: tuple[str, ...], app: App) -> Iterator[tuple[str, ...]]:
    yield words
    for name in app:
        if not name.startswith("-"):
            yield from _commands((*words, name), app[name])


def help_page(words: Sequence[str]) -> str:
    """What ``--help`` prints at a terminal of 100 columns, without colours."""
    output = io.StringIO()
    PROGRAMS[words[0]].print_help(words[1:], Console(file=output, width=COLUMNS, color_system=None))
    return output.getvalue()


def page_of(words: Sequence[str]) -> Path:
    """The file that holds the page as it should be."""
    return PAGES / f"{' '.join(words)}.txt".replace(" ", "_")


def parse(words: Sequence[str]) -> None:
    """Parse a command line without running it, and without files and environment. Raises CycloptsError."""
    program = PROGRAMS[Path(words[0]).name]
    before, program.app.config = program.app.config, ()
    try:
        program.app.parse_args(list(words[1:]), exit_on_error=False, print_error=False)
    finally:
        program.app.config = before


if __name__ == "__main__":  # write the pages anew: python -m tests.fakes.command_lines
    PAGES.mkdir(exist_ok=True)
    for words in commands():
        page_of(words).write_text(help_page(words))
