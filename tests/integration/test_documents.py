"""What the documents say can be done: every example in README, CONTRIBUTING and docs is tried or checked.

- ``json`` blocks parse, ``python`` blocks compile and their project imports exist
- ``toml`` blocks are settings files whose options exist
- ``make`` targets exist
- ``sidestep``, ``sidestep-trainer`` and ``sidestep-evaluator`` commands can be given as they are written there
- links to files of the project lead somewhere
"""

from __future__ import annotations

import ast
import importlib
import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cyclopts import CycloptsError

from sidestep.shared.commands.settings_file import SettingsFile
from sidestep.shared.commands.sources import check_keys
from tests.fakes.command_lines import PROGRAMS, parse

PROJECT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    path
    for path in [*PROJECT.glob("*.md"), *PROJECT.glob("docs/**/*.md"), *PROJECT.glob("examples/**/*.md")]
    if ".venv" not in path.parts
)
SHELLS = {"sh", "bash", "shell", "console"}


@dataclass(frozen=True)
class Block:
    """A fenced block of a document."""

    language: str
    text: str
    line: int


def blocks(path: Path) -> Iterator[Block]:
    opening = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
    text = path.read_text(encoding="utf-8")
    for found in opening.finditer(text):
        yield Block(found[2], found[3], text[: found.start()].count("\n") + 1)


def commands(block: Block) -> Iterator[list[str]]:
    """The commands of a shell block; in a ``console`` block those are the lines that start with ``$``."""
    lines = block.text.replace("\\\n", " ").splitlines()
    if block.language == "console":
        lines = [line.strip()[2:] for line in lines if line.strip().startswith("$ ")]
    for line in lines:
        words = shlex.split(line, comments=True)
        while words and re.fullmatch(r"\w+=.*", words[0]):
            words = words[1:]
        if words:
            yield words


def shell_commands(path: Path) -> list[list[str]]:
    return [command for block in blocks(path) if block.language in SHELLS for command in commands(block)]


def names(path: Path) -> str:
    return str(path.relative_to(PROJECT))


@pytest.mark.parametrize("path", DOCUMENTS, ids=names)
def test_json_parses(path: Path) -> None:
    for block in blocks(path):
        if block.language == "json":
            json.loads(block.text)


@pytest.mark.parametrize("path", DOCUMENTS, ids=names)
def test_options_in_settings_files_exist(path: Path) -> None:
    for block in blocks(path):
        document = tomllib.loads(block.text) if block.language == "toml" else {"project": None}
        if "project" not in document:  # else it is somebody's pyproject.toml
            file = SettingsFile(f"{path.name}:{block.line}", PROJECT, document)
            for program in PROGRAMS.values():
                check_keys(file, program.app)


@pytest.mark.parametrize("path", DOCUMENTS, ids=names)
def test_python_compiles_and_its_imports_exist(path: Path) -> None:
    for block in blocks(path):
        if block.language != "python":
            continue
        for node in ast.walk(ast.parse(block.text)):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in PACKAGES:
                module = importlib.import_module(node.module)
                missing = [alias.name for alias in node.names if not hasattr(module, alias.name)]
                assert missing == [], block.line


PACKAGES = {"sidestep", "expert_trainer"}


@pytest.mark.parametrize("path", DOCUMENTS, ids=names)
def test_make_targets_exist(path: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE))
    named = {
        word
        for command in shell_commands(path)
        if command[0] == "make"
        for word in command[1:]
        if not re.match(r"-|\w+=", word)
    }
    named |= set(re.findall(r"`make ([a-z-]+)`", path.read_text(encoding="utf-8")))
    assert named - targets == set()


@pytest.mark.parametrize("path", DOCUMENTS, ids=names)
def test_commands_and_options_exist(path: Path) -> None:
    wrong = {}
    for command in shell_commands(path):
        if Path(command[0]).name in PROGRAMS:
            try:
                parse(command)
            except CycloptsError as error:
                wrong[shlex.join(command)] = str(error)
    assert wrong == {}


@pytest.mark.parametrize("path", DOCUMENTS, ids=names)
def test_links_lead_somewhere(path: Path) -> None:
    prose = re.sub(r"^( *)```.*?^\1```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    targets = re.findall(r"\]\(([^)\s#]+)[^)]*\)", prose)
    local = [target for target in targets if not re.match(r"[a-z]+:", target)]
    assert [target for target in local if not (path.parent / target).exists()] == []
