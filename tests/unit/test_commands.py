"""What users see of the commands: those in the documents exist, errors are one line, links lead somewhere."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest
from cyclopts import CycloptsError

from tests.fakes.command_lines import PROGRAMS, parse

REPOSITORY = Path(__file__).resolve().parents[2]
MODULES = {
    "sidestep": "sidestep",
    "sidestep-trainer": "sidestep.trainer",
    "sidestep-evaluator": "sidestep.evaluator",
}
DOCUMENTS = [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]


def _run(command: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", MODULES[command], *arguments], cwd=REPOSITORY, capture_output=True, text=True,
        check=False, env={"COLUMNS": "200", "PATH": "", "NO_COLOR": "1", "TERM": "dumb", **environment},
    )  # fmt: skip


def _command_lines() -> list[tuple[str, str]]:
    found = []
    for document in DOCUMENTS:
        for block in re.findall(r"```[a-z]*\n(.*?)```", document.read_text(), re.DOTALL):
            text = block.replace("\\\n", " ")
            lines = re.findall(r"^(?:\$ )?(sidestep(?:-trainer|-evaluator)? .*)$", text, re.MULTILINE)
            found += [(document.name, line) for line in lines]
    return found


@pytest.mark.parametrize(("document", "line"), _command_lines())
def test_commands_in_documents_can_be_given(document: str, line: str) -> None:
    parse(shlex.split(line, comments=True))


@pytest.mark.parametrize(
    "line",
    [
        "sidestep-evaluator watch experts/shop --onec",
        "sidestep-evaluator wacth experts/shop",
        "sidestep-evaluator watch experts/shop --dtype float8",
        "sidestep-evaluator compare experts/shop 250",
        "sidestep up experts/shop --max-stpes 3",
        "sidestep-trainer experts/shop --suite x",
    ],
)
def test_a_wrong_command_in_a_document_would_be_seen(line: str) -> None:
    with pytest.raises(CycloptsError):
        parse(shlex.split(line))


@pytest.mark.parametrize("command", MODULES)
def test_completion_is_installed_for_the_shell_that_is_named(command: str, tmp_path: Path) -> None:
    done = _run(command, "--install-completion", "bash", HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr
    script = tmp_path / ".local" / "share" / "bash-completion" / "completions" / command
    assert done.stdout == f"{script}: completion of {command}, from the next shell on\n"
    assert script.read_text() == PROGRAMS[command].app.generate_completion(shell="bash")
    assert str(script) in (tmp_path / ".bashrc").read_text()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["sidestep-evaluator", "reru"], "rerun"),
        (["sidestep-evaluator", "watch", "--max-s"], "--max-slowdown"),
        (["sidestep-evaluator", "watch", "x", "--order", "old"], "oldest"),
        (["sidestep-trainer", "--save"], "--save-steps"),
        (["sidestep", "up", "x", "--max-st"], "--max-steps"),
    ],
)
def test_bash_completes(words: list[str], offered: str, tmp_path: Path) -> None:
    (tmp_path / "completion").write_text(PROGRAMS[words[0]].app.generate_completion(shell="bash"))
    code = (
        f"source {tmp_path}/completion; read -ra spec <<< $(complete -p {words[0]}); COMP_WORDS=({' '.join(words)}); "
        f"COMP_CWORD={len(words) - 1}; ${{spec[2]}}; echo ${{COMPREPLY[@]}}"
    )
    done = subprocess.run(["bash", "--norc", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [offered]


def test_commands_of_the_containers_can_be_given() -> None:
    text = (REPOSITORY / "docker-compose.yml").read_text()
    lines = re.findall(r"exec (sidestep-[^\"]*?)(?: \$\{\w+:-(.*?)\})?\"", text)
    assert len(lines) == 3
    for line, default in lines:
        parse(shlex.split(f"{line} {default}"))


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
        ("sidestep-evaluator", ["watch", ".", "--max-drop", "2"], 2),
        ("sidestep-evaluator", ["status", ".", "--device", "cpu"], 2),
        ("sidestep-evaluator", ["compare", ".", "1", "2", "--base-model", "x"], 2),
        ("sidestep", ["up", ".", "--max-stpes", "3"], 2),
    ],
)
def test_exit_codes_and_no_traceback(command: str, arguments: list[str], code: int) -> None:
    done = _run(command, *arguments)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    lines = done.stderr.splitlines()
    assert lines[0].startswith(f"{command}: error: ")
    assert [line for line in lines[1:] if not line.startswith(f"{command}: hint: ")] == []


@pytest.mark.parametrize("command", MODULES)
def test_a_program_says_its_version(command: str) -> None:
    done = _run(command, "--version")
    assert done.returncode == 0
    assert re.fullmatch(rf"{command} (\d+\.\d+\.\d+|\(not installed\))\n", done.stdout)


@pytest.mark.parametrize("command", MODULES)
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_the_options(command: str, shell: Literal["bash", "zsh", "fish"]) -> None:
    script = PROGRAMS[command].app.generate_completion(shell=shell)
    assert command in script
    assert "max-steps" in script if command != "sidestep-evaluator" else "max-slowdown" in script
