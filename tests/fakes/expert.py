"""An expert without a model: published checkpoints, test cases and an engine that answers from a table.

The evaluator itself is the real command in a process of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from sidestep.shared.protocol.layout import ModelFolder, ReportsFolder
from tests.fakes.checkpoints import publish_checkpoint
from tests.fakes.engine import SCRIPT_VARIABLE
from tests.fakes.reading import read_lines_until
from tests.fakes.warm_process import run_evaluator

REPOSITORY = Path(__file__).resolve().parents[2]
TIMEOUT_SECONDS = 120
MODULE = "sidestep.evaluator"


class FakeExpert:
    """An expert's folder, and the evaluator's commands on it. Whatever still runs when the block ends is killed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.model = ModelFolder(root / "weights" / "tiny")
        self.reports = ReportsFolder(root / "weights" / "training_reports")
        self.engine_log = root / "engine.log"
        self.script_path = root / "engine.json"
        self.hold = root / "hold"
        self.base = root / "base"
        self._started: list[subprocess.Popen[str]] = []

    @classmethod
    def create(cls, root: Path, *, cases: int = 4) -> FakeExpert:
        """Its folders and files, with ``cases`` test cases."""
        expert = cls(root)
        for folder in (expert.model.root, root / "tests", expert.base):
            folder.mkdir(parents=True)
        expert.manifest()
        expert.write_suite(cases)
        expert.script()
        return expert

    def __enter__(self) -> FakeExpert:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._started:
            if process.poll() is None:
                process.kill()
                process.communicate(timeout=TIMEOUT_SECONDS)

    def manifest(self, **entries: Any) -> None:
        manifest = {"name": "fake", "version": "0.1.0", "base_models": [{"name": "tiny"}], "training": {}}
        (self.root / "manifest.json").write_text(json.dumps({**manifest, **entries}))

    def write_suite(self, cases: int) -> None:
        """Case N passes when the answer contains the step N times ten."""
        rows = [
            {"id": f"case-{n}", "prompt": f"say {n}", "checks": [{"scorer": "contains", "values": [str(10 * n)]}]}
            for n in range(1, cases + 1)
        ]
        (self.root / "tests" / "test_cases.json").write_text(json.dumps({"test_suite": "fake", "test_cases": rows}))

    def script(self, **entries: Any) -> None:
        """What the engine does (tests.fakes.engine)."""
        self.script_path.write_text(json.dumps({"log": str(self.engine_log), "hold": str(self.hold), **entries}))

    def publish(self, *steps: int, salt: int = 0, version: str = "0.1.0") -> None:
        for step in steps:
            publish_checkpoint(self.model, step, salt=salt, version=version)

    def command(self, *arguments: str) -> list[str]:
        name, *rest = arguments
        model = ["--base-model", str(self.base), "--engine", "tests.fakes.engine:create"]
        return [
            sys.executable,
            "-m",
            MODULE,
            name,
            str(self.root),
            *rest,
            *(model if name in ("watch", "rerun") else []),
        ]

    def run(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Run a command to its end and check its exit code, in a process that has its imports behind it."""
        command = self.command(*arguments)
        after_module = command[command.index(MODULE) + 1 :]
        done = run_evaluator(*after_module, timeout=TIMEOUT_SECONDS, environment=self.environment)
        assert done.returncode == code, done.stdout + done.stderr
        return done

    def start(self, *arguments: str, stdin: int | None = subprocess.DEVNULL) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            self.command(*arguments), env=self.environment, cwd=REPOSITORY, stdin=stdin, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._started.append(process)
        return process

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, SCRIPT_VARIABLE: str(self.script_path)}

    def answered(self) -> list[str]:
        """``<checkpoint> <case>`` for every case the engine answered, in order."""
        return self.engine_log.read_text().split("\n")[:-1] if self.engine_log.exists() else []

    def outcomes(self) -> dict[str, str]:
        """Outcome of each current report."""
        found = {}
        for path in sorted(self.reports.root.glob("*/outcome.json")):
            document = json.loads(path.read_text())
            found[document["checkpoint"]] = document["outcome"]
        return found

    def report(self, checkpoint: str) -> dict[str, Any]:
        document: dict[str, Any] = json.loads((self.reports.root / checkpoint / "report.json").read_text())
        return document


def read_until(process: subprocess.Popen[str], text: str) -> str:
    """The first line of standard error that contains ``text``; fails when it does not come in time."""
    return read_lines_until(process, process.stderr, text)[-1]


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Return when the condition holds; fails when it does not in time. For what sends no event."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"not within {TIMEOUT_SECONDS} s: {what}"
        time.sleep(0.01)


def labels(lines: Sequence[str]) -> list[str]:
    """The checkpoints of engine log lines, in order of first appearance."""
    return list(dict.fromkeys(line.split()[0] for line in lines))
