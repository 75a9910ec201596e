"""Runs a module as a program in an interpreter that does not find some of the installed packages.

python -m tests.fakes.absent_packages cyclopts,trl sidestep.trainer --help
python -m tests.fakes.absent_packages pydantic -c "from sidestep import PublishCheckpoint"
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Iterable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


class WithoutPackages:
    """One of the interpreter's finders, which no longer sees what is in ``absent``."""

    def __init__(self, finder: Any, absent: frozenset[str]) -> None:
        self._finder = finder
        self._absent = absent

    def __getattr__(self, name: str) -> Any:
        return getattr(self._finder, name)  # find_distributions, for those who ask for versions

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name.partition(".")[0] in self._absent:
            return None
        found: ModuleSpec | None = self._finder.find_spec(name, path, target)
        return found


def hide_packages(names: Iterable[str]) -> None:
    """Let every import and every ``find_spec`` of these packages end as if they were not installed."""
    absent = frozenset(names)
    loaded = sorted(absent & {name.partition(".")[0] for name in sys.modules})
    if loaded:
        raise RuntimeError(f"too late, loaded already: {', '.join(loaded)}")
    sys.meta_path[:] = [WithoutPackages(finder, absent) for finder in sys.meta_path]


def main() -> None:
    _, absent, module, *arguments = sys.argv
    hide_packages(absent.split(","))
    if module == "-c":
        sys.argv = ["-c", *arguments[1:]]
        exec(compile(arguments[0], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv = [module, *arguments]
        runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
