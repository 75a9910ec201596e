"""What users see of the commands: help that names the options the documents use, usage errors, links that exist."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
MODULES = {
    "sidestep": "sidestep.shared.launch.command",
    "sidestep-trainer": "sidestep.trainer",
    "sidestep-evaluator": "sidestep.evaluator",
}
PASSED_ON = ("sidestep", "up")
DOCUMENTS = [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]


def _run(command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", MODULES[command], *arguments], cwd=REPOSITORY, capture_output=True, text=True,
        check=False, env={"COLUMNS": "200", "PATH": "", "NO_COLOR": "1", "TERM": "dumb"},
    )  # fmt: skip


@cache
def _help(command: str, *subcommand: str) -> str:
    done = _run(command, *subcommand, "--help")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("command", "promised"),
    [
        (("sidestep", "up"), "--base-model --device --suite --output-dir --fail-on-regression --log-json"),
        (
            ("sidestep-trainer",),
            "--base-model --output-dir --max-steps --epochs --save-steps --device --resume --allow-unquantized --set",
        ),
        (("sidestep-evaluator", "watch"), "--until-idle --once --base-model --device --dtype --suite"),
        (
            ("sidestep-evaluator", "rerun"),
            "--checkpoints --force --accept-unmarked --base-model --device --dtype --suite",
        ),
        (("sidestep-evaluator", "status"), "--json --base-model --device --dtype --suite"),
        (("sidestep-evaluator", "compare"), "--fail-on-regression --base-model --device --dtype --suite"),
        (("sidestep-evaluator", "health"), "--max-age"),
        (
            ("sidestep-evaluator", "gate"),
            "--checkpoint --against --max-drop --min-success-rate --min-category-rate --forbid-regression --json",
        ),
        (
            ("sidestep-evaluator", "watch"),
            "--max-drop --min-success-rate --min-category-rate --forbid-regression --keep-reports --fail-on-regression",
        ),
    ],
)
def test_help_names_what_is_promised(command: tuple[str, ...], promised: str) -> None:
    text = _help(*command)
    assert [option for option in promised.split() if option not in text] == []


def _command_lines() -> list[tuple[str, str]]:
    found = []
    for document in DOCUMENTS:
        for block in re.findall(r"```[a-z]*\n(.*?)```", document.read_text(), re.DOTALL):
            lines = re.findall(r"^(?:\$ )?(sidestep(?:-trainer|-evaluator)? .*)$", block, re.MULTILINE)
            found += [(document.name, line) for line in lines]
    return found


@pytest.mark.parametrize(("document", "line"), _command_lines())
def test_commands_in_documents_exist_with_their_options(document: str, line: str) -> None:
    command, *rest = line.split()
    subcommand = rest[: 2 if rest[0] == "suite" else 1] if command != "sidestep-trainer" else []
    known = _help(command, *subcommand)
    if (command, *subcommand) == PASSED_ON:
        known += _help("sidestep-trainer")
    assert [option for option in rest if option.startswith("--") and option not in known] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_in_documents_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text())
    assert [link for link in links if not (document.parent / link).exists()] == []


@pytest.mark.parametrize(
    ("command", "arguments", "code"),
    [
        ("sidestep-evaluator", ["watch"], 2),
        ("sidestep-evaluator", ["watch", ".", "--dtype", "float8"], 2),
        ("sidestep-evaluator", ["nothing"], 2),
        ("sidestep-trainer", ["x", "--max-steps", "many"], 2),
        ("sidestep-trainer", ["/nowhere.json"], 1),
        ("sidestep", ["up", "/nowhere"], 1),
        ("sidestep-evaluator", ["rerun", "/nowhere", "--base-model", "."], 1),
        ("sidestep-evaluator", ["compare", "/nowhere", "1", "2"], 1),
    ],
)
def test_exit_codes_and_no_traceback(command: str, arguments: list[str], code: int) -> None:
    done = _run(command, *arguments)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    if code == 1:
        assert f"{command}: error: " in done.stderr
