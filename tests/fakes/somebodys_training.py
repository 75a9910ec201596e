"""Runs tests/fakes/training_script.py as a process, and the evaluator with a table for a model on what it left."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from sidestep.shared.protocol.layout import ModelFolder
from sidestep.shared.protocol.outbox import held_entries
from tests.fakes.expert import REPOSITORY, TIMEOUT_SECONDS, FakeExpert
from tests.fakes.tiny_model import build_tiny_model
from tests.fakes.warm_process import TRAINER

SCRIPT = REPOSITORY / "tests" / "fakes" / "training_script.py"


class SomebodysTraining:
    """An expert's folder with a real, tiny base model, and the training script that writes into it."""

    def __init__(self, root: Path, base_model: Path | None = None) -> None:
        self.expert = FakeExpert.create(root / "expert", cases=2)
        self.base_model = base_model or build_tiny_model(root / "tiny_model")
        self.out: ModelFolder = self.expert.model
        self.suite = self.expert.root / "tests" / "test_cases.json"

    def request(self, **changes: Any) -> dict[str, Any]:
        return {"base_model": str(self.base_model), "output_dir": str(self.out.root), "publisher": {}, **changes}

    def start(self, *launcher: str, **request: Any) -> subprocess.Popen[str]:
        script = [str(SCRIPT), json.dumps(self.request(**request))]
        environment = {**self.expert.environment, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            [*(launcher or (sys.executable,)), *script], env=environment, cwd=self.expert.root,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self, *launcher: str, code: int = 0, **request: Any) -> tuple[str, str]:
        """Standard output and standard error of a training that has ended."""
        process = self.start(*launcher, **request)
        output, log = process.communicate(timeout=TIMEOUT_SECONDS)
        assert process.returncode == code, output + log
        return output, log

    def train(self, *, code: int = 0, **request: Any) -> dict[str, float]:
        """Loss of each step of a training in a process that has its imports behind it; none when it was killed."""
        done = TRAINER.run(
            "tests.fakes.training_script:main", self.request(**request), folder=self.expert.root,
            timeout=TIMEOUT_SECONDS,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        losses: dict[str, float] = json.loads(done.stdout.splitlines()[-1])["losses"] if code == 0 else {}
        return losses

    def folders(self) -> list[str]:
        return sorted(path.name for path in self.out.root.glob("checkpoint-*"))

    def published(self) -> list[int]:
        return [entry.marker.step for entry in held_entries(self.out)]

    def evaluated(self) -> dict[str, str]:
        """Outcomes of the checkpoints after an evaluator has looked at everything."""
        self.expert.run("watch", "--once")
        return {name: outcome for name, outcome in self.expert.outcomes().items() if name != "base"}
