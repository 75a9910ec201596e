"""Two versions of the example expert, really trained and evaluated: reports archived, the new version compared."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from tests.fakes.warm_process import run_evaluator, run_trainer

pytestmark = pytest.mark.model

PROJECT = Path(__file__).resolve().parents[2]
TIMEOUT_SECONDS = 900


@pytest.fixture(scope="module")
def base_model() -> Path:
    cache = Path(os.environ.get("SIDESTEP_CACHE") or PROJECT / ".cache")
    if not (cache / "smollm2-135m-instruct" / "READY").is_file():
        pytest.skip("the base model has not been converted (make setup)")
    return cache / "smollm2-135m-instruct"


class Shop:
    """A copy of examples/shop with few test cases."""

    def __init__(self, root: Path, base_model: Path, cases: int) -> None:
        self.root = root
        self.reports = root / "weights" / "training_reports"
        self._base_model = base_model
        shutil.copytree(PROJECT / "examples" / "shop", root)
        self._edit("tests/test_cases.json", lambda suite: suite.update(test_cases=suite["test_cases"][:cases]))

    def version(self, version: str) -> None:
        self._edit("manifest.json", lambda manifest: manifest.update(version=version))

    def _edit(self, name: str, change: Any) -> None:
        document = json.loads((self.root / name).read_text())
        change(document)
        (self.root / name).write_text(json.dumps(document))

    def run(self, run: Callable[..., CompletedProcess[str]], *arguments: str, code: int = 0) -> None:
        """Run ``run_trainer`` or ``run_evaluator`` to its end and check its exit code."""
        done = run(*arguments, timeout=TIMEOUT_SECONDS)
        assert done.returncode == code, done.stdout + done.stderr
        sys.stdout.write(done.stdout)

    def train_and_evaluate(self, steps: int, save_steps: int) -> None:
        options = (str(self.root), "--base-model", str(self._base_model))
        self.run(run_trainer, *options, "--max-steps", str(steps), "--save-steps", str(save_steps))
        self.run(run_evaluator, "watch", *options, "--once", "--max-new-tokens", "40")

    def places(self) -> list[str]:
        return sorted(str(path.parent.relative_to(self.reports)) for path in self.reports.rglob("report.json"))

    def report(self, place: str) -> dict[str, Any]:
        document: dict[str, Any] = json.loads((self.reports / place / "report.json").read_text())
        return document


@pytest.mark.timeout(1800)
def test_a_new_version_of_the_example_expert(tmp_path: Path, base_model: Path) -> None:
    """Version 0.1.0 is trained for four steps, 0.2.0 for eight; the answers are the model's own."""
    shop = Shop(tmp_path / "shop", base_model, cases=8)
    shop.train_and_evaluate(4, 2)
    assert shop.places() == ["base", "checkpoint-2", "checkpoint-4"]
    first = {step: shop.report(f"checkpoint-{step}") for step in (2, 4)}
    assert {report["expert_version"] for report in first.values()} == {"0.1.0"}

    shop.version("0.2.0")
    shop.train_and_evaluate(8, 8)
    old = "archive/0.1.0/smollm2-135m-instruct"
    assert shop.places() == [f"{old}/checkpoint-2", f"{old}/checkpoint-4", "base", "checkpoint-8"]
    assert {step: shop.report(f"{old}/checkpoint-{step}")["test_cases"] for step in (2, 4)} == {
        step: report["test_cases"] for step, report in first.items()
    }  # moved, not made anew

    new = shop.report("checkpoint-8")
    assert new["expert_version"] == "0.2.0"
    comparisons = new["comparisons"]
    best = max(first.values(), key=lambda report: (report["test_results"]["success_rate"], report["step"]))
    assert (comparisons["previous_version"]["against"], comparisons["previous_version"]["against_version"]) == (
        "checkpoint-4", "0.1.0",
    )  # fmt: skip
    assert comparisons["previous_version_best"]["against"] == best["checkpoint"]
    assert comparisons["previous_version_best"]["verdict"]["family"] == {"number": 1, "candidates": 2}
    before = {case["id"]: case["status"] for case in first[4]["test_cases"]}
    flips = {case["id"]: (before[case["id"]], case["status"]) for case in new["test_cases"]}
    entry = comparisons["previous_version"]
    assert set(entry["fixed_failures"]) == {case for case, flip in flips.items() if flip == ("failed", "passed")}
    assert set(entry["new_failures"]) == {case for case, flip in flips.items() if flip == ("passed", "failed")}

    history = json.loads((shop.reports / "comparison.json").read_text())
    assert [version["expert_version"] for version in history["versions"]] == ["0.1.0", "0.2.0"]
    assert history["versions"][0]["best"]["checkpoint"] == best["checkpoint"]
    shop.run(run_evaluator, "compare", str(shop.root), "0.1.0", "0.2.0")
    shop.run(run_evaluator, "gate", str(shop.root))
    shop.run(run_evaluator, "gate", str(shop.root), "--min-success-rate", "1", code=3)
