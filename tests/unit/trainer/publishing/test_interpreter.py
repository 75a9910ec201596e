"""With which Python the evaluator runs: the training's own, or another that must find its own packages and not ours."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import sidestep
from sidestep.shared.errors import ConfigError
from sidestep.trainer.publishing import interpreter as module
from sidestep.trainer.publishing.interpreter import (
    Interpreter,
    ProbeResult,
    choose_interpreter,
    evaluator_environment,
    own_interpreter,
    run_probe,
)

REPOSITORY = Path(__file__).resolve().parents[4]
MISSING = ProbeResult("sidestep is not installed there", missing=True)
GIVEN = {
    "RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "x", "MASTER_PORT": "1", "PATH": "/bin",
    "TORCHELASTIC_RUN_ID": "x", "ACCELERATE_USE_CPU": "true", "PYTHONPATH": "/theirs", "CUDA_VISIBLE_DEVICES": "1",
    "VIRTUAL_ENV": "/envs/training", "PYTHONHOME": "/envs/training",
}  # fmt: skip
KEPT = {"PATH": "/bin", "CUDA_VISIBLE_DEVICES": "1", "PYTHONSAFEPATH": "1"}


@pytest.fixture
def other_python(tmp_path: Path) -> Path:
    """A program in the place of another environment's interpreter."""
    path = tmp_path / "envs" / "bin" / "python"
    path.parent.mkdir(parents=True)
    path.symlink_to(sys.executable)
    return path


class Probes:
    """Answers in the place of an interpreter, and what it was asked about."""

    def __init__(self, *results: ProbeResult) -> None:
        self.results = list(results)
        self.asked: list[Interpreter] = []

    def __call__(self, interpreter: Interpreter) -> ProbeResult:
        self.asked.append(interpreter)
        return self.results.pop(0)


def test_the_own_interpreter_gets_our_source_before_the_scripts_paths_and_no_rank() -> None:
    environment = evaluator_environment(GIVEN, own_interpreter())
    assert environment == {
        **KEPT, "PYTHONPATH": f"{REPOSITORY}:/theirs", "VIRTUAL_ENV": "/envs/training", "PYTHONHOME": "/envs/training",
    }  # fmt: skip


@pytest.mark.parametrize("source", [None, Path("/source")])
def test_another_interpreter_gets_none_of_this_environments_packages(source: Path | None) -> None:
    environment = evaluator_environment(GIVEN, Interpreter("/envs/evaluator/bin/python", source, shares_packages=False))
    assert environment == KEPT | ({"PYTHONPATH": "/source"} if source else {})


@pytest.mark.parametrize("python", [None, sys.executable])
def test_the_trainings_own_is_not_looked_at(python: str | None) -> None:
    assert choose_interpreter(python, Probes()) == own_interpreter()


def test_what_the_own_environment_lacks_is_said_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """`pip install sidestep` alone publishes; the evaluator needs more."""
    monkeypatch.setattr(module, "missing_modules", lambda role: "cyclopts, scipy")
    with pytest.raises(ConfigError, match=r"needs cyclopts, scipy, which this environment does not have .*pip install"):
        choose_interpreter(None, Probes())


def test_an_installed_sidestep_is_not_shadowed_by_our_source(other_python: Path) -> None:
    chosen = choose_interpreter(other_python, Probes(ProbeResult()))
    assert chosen == Interpreter(str(other_python), None, shares_packages=False)


def test_our_source_tree_is_lent_where_sidestep_is_missing(other_python: Path) -> None:
    probes = Probes(MISSING, ProbeResult())
    chosen = choose_interpreter(other_python, probes)
    assert chosen == Interpreter(str(other_python), REPOSITORY, shares_packages=False)
    assert [asked.source for asked in probes.asked] == [None, REPOSITORY]


def test_installed_packages_are_not_lent(other_python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All the packages beside an installed sidestep would come along."""
    monkeypatch.setattr(sidestep, "__file__", str(tmp_path / "site-packages" / "sidestep" / "__init__.py"))
    with pytest.raises(ConfigError, match=r"cannot run the evaluator: sidestep is not installed there .*pip install"):
        choose_interpreter(other_python, Probes(MISSING))


@pytest.mark.parametrize("results", [[ProbeResult("no typer")], [MISSING, ProbeResult("no typer")]])
def test_what_keeps_it_from_running_is_one_error(other_python: Path, results: list[ProbeResult]) -> None:
    with pytest.raises(ConfigError, match=f"{other_python} cannot run the evaluator: no typer"):
        choose_interpreter(other_python, Probes(*results))


def test_a_name_is_looked_up_where_programs_are(other_python: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(other_python.parent))
    assert choose_interpreter("python", Probes(ProbeResult())).path == str(other_python)
    with pytest.raises(ConfigError, match="no-such-python is not a program that can be run"):
        choose_interpreter("no-such-python", Probes())


def test_the_probe_tells_what_runs_from_what_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real processes: ours can, a bare interpreter has no sidestep, and with our source it lacks packages."""
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    assert run_probe(own_interpreter()) == ProbeResult()
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    python = str(bare / "bin" / "python")
    assert run_probe(Interpreter(python, None, shares_packages=False)) == MISSING
    lent = run_probe(Interpreter(python, REPOSITORY, shares_packages=False))
    assert not lent.missing and "pip install 'sidestep[evaluator]'" in str(lent.problem)


def test_a_probe_that_ends_without_a_word_or_cannot_start_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "silent").write_text("#!/bin/sh\nexit 7\n")
    (tmp_path / "silent").chmod(0o755)
    (tmp_path / "other").write_bytes(b"\x00")
    (tmp_path / "other").chmod(0o755)
    silent, broken = (
        run_probe(Interpreter(str(tmp_path / name), None, shares_packages=False)) for name in ("silent", "other")
    )
    assert silent.problem == "exit status 7"
    assert broken.problem


def test_an_environment_without_the_evaluators_extra_says_so(tmp_path: Path) -> None:
    python = tmp_path / "python"
    hidden = f'PYTHONPATH={REPOSITORY} exec {sys.executable} -m tests.fakes.absent_packages statsmodels "$@"'
    python.write_text(f"#!/bin/sh\n{hidden}\n")
    python.chmod(0o755)
    result = run_probe(Interpreter(str(python), REPOSITORY, shares_packages=False))
    expected = "not installed: statsmodels; pip install 'sidestep[evaluator]'"
    assert result == ProbeResult(expected)
