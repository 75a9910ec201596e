"""Imports modules once and forks processes that have them; the other end of tests.fakes.warm_process.

    python -m tests.fakes.fork_server MODULE...

A request is a line of JSON on standard input: ``call`` (module:function), ``argument`` (what the function gets, or null
for none), ``argv``, ``folder``, ``environment``, ``output`` and ``log`` (files for standard output and error). Replies
are two lines: the process's id, and its exit status when it has ended (negative: the signal that ended it).
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import runpy
import sys
import threading
import traceback
from pathlib import Path
from typing import Any


def run_script(path: str) -> None:
    """Run a file as ``python FILE`` does."""
    sys.path.insert(0, str(Path(path).parent))
    runpy.run_path(path, run_name="__main__")


def run_code(code: str) -> None:
    """Run statements as ``python -c`` does."""
    exec(code, {"__name__": "__main__"})


def main() -> None:
    """Serve requests, one at a time, until standard input closes."""
    requests = os.fdopen(os.dup(0), "r")  # not inherited by what a process starts, unlike 0 and 1
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    for module in sys.argv[1:]:
        importlib.import_module(module)
    for line in requests:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _become(request)
        replies.write(f"{pid}\n")
        _, status = os.waitpid(pid, 0)
        replies.write(f"{os.waitstatus_to_exitcode(status)}\n")


def _become(request: dict[str, Any]) -> None:
    """Be the process that was asked for, and end."""
    for descriptor, path in ((1, request["output"]), (2, request["log"])):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), descriptor)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = request["argv"]
    code = 1
    try:
        module, _, name = request["call"].partition(":")
        arguments = () if request["argument"] is None else (request["argument"],)
        getattr(importlib.import_module(module), name)(*arguments)
        code = 0
    except SystemExit as error:
        if error.code is None or isinstance(error.code, int):
            code = error.code or 0
        else:
            sys.stderr.write(f"{error.code}\n")
    except BaseException:
        traceback.print_exc()
    finally:
        _end(code)


def _end(code: int) -> None:
    """End as an interpreter does: threads and functions registered with atexit first."""
    try:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


if __name__ == "__main__":
    main()
