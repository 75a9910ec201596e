"""With which Python the evaluator runs, and in which environment: that of the training, or one of its own.

A training environment need not hold what an evaluator needs, nor the same versions of it: ``LaunchOptions(python=…)``
names the interpreter of another one. Nothing of this environment's packages reaches it then.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import sidestep
from sidestep.shared.commands.extras import missing_modules
from sidestep.shared.errors import ConfigError

PROBE_SECONDS = 300.0  # for an environment on a slow disk; usually a second

# What torchrun, accelerate and MPI tell their own ranks: an evaluator that believed it would join their group.
_RANK_VARIABLES = re.compile(
    r"(LOCAL_|GROUP_|ROLE_)?(RANK|WORLD_SIZE)|MASTER_(ADDR|PORT)|(TORCHELASTIC|ACCELERATE|FSDP|OMPI|PMI)_.*|ROLE_NAME"
)
# What points an interpreter at the packages of one environment, and must not reach that of another.
_PACKAGE_VARIABLES = frozenset({"PYTHONPATH", "PYTHONHOME", "PYTHONEXECUTABLE", "__PYVENV_LAUNCHER__", "VIRTUAL_ENV"})

_MISSING = 3
_PROBE = f"""
import importlib.util, sys
if sys.version_info < (3, 11):
    sys.exit("it is Python %d.%d, and 3.11 is the oldest that can run it" % sys.version_info[:2])
if importlib.util.find_spec("sidestep") is None:
    sys.exit({_MISSING})
from sidestep.evaluator.__main__ import main
sys.argv = ["sidestep-evaluator", "--help"]
main()
"""


@dataclass(frozen=True)
class Interpreter:
    """A Python that can run the evaluator. ``source``: the folder to add for it to find sidestep; None: it needs none.

    ``shares_packages``: whether it is the training's own, so that what PYTHONPATH adds here holds there, too.
    """

    path: str
    source: Path | None
    shares_packages: bool


@dataclass(frozen=True)
class ProbeResult:
    """Whether an interpreter can run the evaluator: ``problem`` says why not, ``missing`` that it has none."""

    problem: str | None = None
    missing: bool = False


Probe = Callable[[Interpreter], ProbeResult]


def own_interpreter() -> Interpreter:
    """The Python that runs this training, with the sidestep that it has imported."""
    return Interpreter(sys.executable, _source_folder(), shares_packages=True)


def choose_interpreter(python: str | Path | None, probe: Probe | None = None) -> Interpreter:
    """The interpreter that a user means. Raises ConfigError when it cannot run the evaluator.

    ``python``: path or name of an interpreter; None: the training's own. One that has no sidestep gets the source tree
    that this training runs from, where there is one; an installed one is not lent, as all packages beside it would be.
    """
    if python is None:
        return _own_interpreter_with_evaluator()
    found = shutil.which(Path(python).expanduser())
    if found is None:
        raise ConfigError(
            f"LaunchOptions(python=…): {python} is not a program that can be run",
            hint="give the path of another environment's interpreter, such as /envs/evaluator/bin/python",
        )
    path = str(Path(found).absolute())  # not resolved: a virtual environment's interpreter is a link, and means itself
    if path == sys.executable:
        return _own_interpreter_with_evaluator()
    probe = probe or run_probe
    chosen = Interpreter(path, None, shares_packages=False)
    result = probe(chosen)
    if result.missing and (tree := _source_tree()):
        chosen = Interpreter(path, tree, shares_packages=False)
        result = probe(chosen)
    if result.problem:
        raise ConfigError(
            f"LaunchOptions(python=…): {path} cannot run the evaluator: {result.problem}",
            hint=f"{path} -m pip install 'sidestep[evaluator]'",
        )
    return chosen


def _own_interpreter_with_evaluator() -> Interpreter:
    if missing := missing_modules("evaluator"):
        raise ConfigError(
            f"PublishCheckpoint(launch=True): the evaluator needs {missing}, which this environment does not have",
            hint="pip install 'sidestep[evaluator]', or name another environment's Python in LaunchOptions(python=…)",
        )
    return own_interpreter()


def run_probe(interpreter: Interpreter) -> ProbeResult:
    """Have an interpreter show the evaluator's help, in the environment that it would get."""
    environment = evaluator_environment(os.environ, interpreter)
    try:
        done = subprocess.run(
            [interpreter.path, "-c", _PROBE], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            errors="replace", timeout=PROBE_SECONDS, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return ProbeResult(str(error))
    if done.returncode == _MISSING:
        return ProbeResult("sidestep is not installed there", missing=True)
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        last = lines[-1].removeprefix("sidestep-evaluator: error: ") if lines else f"exit status {done.returncode}"
        return ProbeResult(last)
    return ProbeResult()


def evaluator_environment(environment: Mapping[str, str], interpreter: Interpreter) -> dict[str, str]:
    """The environment for the evaluator: no rank of a distributed training, our packages and not the script's folder.

    Pure. A ``sidestep.py`` in the current folder must not be taken for ours; and another environment's interpreter
    must not find the packages of this one.
    """
    kept = {name: value for name, value in environment.items() if not _RANK_VARIABLES.fullmatch(name)}
    paths = [str(interpreter.source)] if interpreter.source else []
    if interpreter.shares_packages:
        paths += filter(None, kept.get("PYTHONPATH", "").split(os.pathsep))
    else:
        kept = {name: value for name, value in kept.items() if name not in _PACKAGE_VARIABLES}
    if paths:
        kept["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(paths))
    return kept | {"PYTHONSAFEPATH": "1"}


def _source_folder() -> Path:
    """The folder that holds the imported sidestep: a source tree, or an environment's packages."""
    return Path(sidestep.__file__).resolve().parents[1]


def _source_tree() -> Path | None:
    """The source tree that sidestep was imported from, or None where it is installed among other packages."""
    folder = _source_folder()
    return folder if (folder / "pyproject.toml").is_file() else None
