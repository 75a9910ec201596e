"""How the cost grows with cases (8 to 1,024) and with checkpoints (1 to 100).

    python -m benchmarks.scaling [--quick]

Cases: the engine alone, prompts repeated. Checkpoints: ``sidestep-evaluator rerun`` as a user runs it, over as many
published checkpoints (links to the real ones), with the first eight cases; what one costs is the time between
two reports.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from benchmarks.results import Results, median, table
from benchmarks.workload import MAX_NEW_TOKENS, ROOT, Workload, prepare_workload
from sidestep.evaluator.cases.exchange import Answer, Decoding
from sidestep.evaluator.engine.transformers_engine import create
from sidestep.evaluator.settings import EngineSettings
from sidestep.shared.protocol.checkpoint import describe_files
from sidestep.shared.protocol.layout import MARKER_NAME
from sidestep.shared.protocol.marker import Marker


def time_cases(workload: Workload, counts: list[int], rounds: int) -> list[list[str]]:
    """Rows of the table: how long the engine takes to answer so many cases."""
    engine = create(EngineSettings(str(workload.base_model), "cpu", replay=False))
    engine.attach(workload.checkpoints[-1])
    rows = []
    for count in counts:
        requests = [
            replace(workload.requests[n % len(workload.requests)], case_id=f"case-{n:04d}") for n in range(count)
        ]
        times, answers = [], list[Answer]()
        for _ in range(rounds if count <= 256 else 1):
            answers.clear()
            began = time.perf_counter()
            engine.answer(requests, Decoding(max_new_tokens=MAX_NEW_TOKENS), answers.append, lambda tokens: None)
            times.append(time.perf_counter() - began)
        best = median(times)
        tokens = sum(answer.output_tokens for answer in answers)
        rows.append([str(count), f"{best:.2f}", f"{1000 * best / count:.0f}", f"{tokens / best:.0f}"])
    return rows


def time_checkpoints(workload: Workload, count: int) -> list[float]:
    """Seconds between the reports of one rerun over so many checkpoints."""
    with tempfile.TemporaryDirectory(dir=workload.expert.parent) as folder:
        expert = Path(folder) / "expert"
        (expert / "tests").mkdir(parents=True)
        shutil.copy(workload.expert / "manifest.json", expert)
        suite = json.loads((workload.expert / "tests" / "test_cases.json").read_text())
        suite["test_cases"] = suite["test_cases"][:8]
        (expert / "tests" / "test_cases.json").write_text(json.dumps(suite))
        for step in range(1, count + 1):
            publish(workload.checkpoints[step % len(workload.checkpoints)], expert, step)
        environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
        subprocess.run(
            [sys.executable, "-m", "sidestep.evaluator", "rerun", str(expert),
             "--base-model", str(workload.base_model)],
            cwd=ROOT, env=environment, check=True, capture_output=True,
        )  # fmt: skip
        outcomes = sorted(expert.glob("weights/training_reports/checkpoint-*/outcome.json"))
        ends = sorted(datetime.fromisoformat(json.loads(outcome.read_text())["finished_at"]) for outcome in outcomes)
        if len(ends) != count:
            raise RuntimeError(f"{len(ends)} of {count} checkpoints were evaluated")
        return [(after - before).total_seconds() for before, after in pairwise(ends)]


def publish(source: Path, expert: Path, step: int) -> None:
    """Publish a checkpoint as that of another step, with links to its files."""
    folder = expert / "weights" / "smollm2-135m-instruct" / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    for path in source.iterdir():
        if path.is_file() and path.name not in (MARKER_NAME, "optimizer.pt", "trainer_state.json"):
            os.link(path.resolve(), folder / path.name)
    state = json.loads((source / "trainer_state.json").read_text()) | {"global_step": step}
    (folder / "trainer_state.json").write_text(json.dumps(state))
    marker = Marker(run_id="bench", step=step, files=describe_files(folder), published_at=time.time())
    (folder / MARKER_NAME).write_bytes(marker.to_bytes())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    workload, results = prepare_workload(), Results("scaling", fresh=True)
    rows = time_cases(workload, [8, 32, 64] if quick else [8, 16, 32, 64, 128, 256, 512, 1024], 1 if quick else 3)
    gaps = time_checkpoints(workload, 10 if quick else 100)
    tenth = max(1, len(gaps) // 10)
    parts = [("first tenth", gaps[:tenth]), ("middle", gaps[tenth:-tenth]), ("last tenth", gaps[-tenth:])]
    results.add(cases=rows, gaps=gaps)
    by_cases = table(["cases", "seconds", "ms per case", "answer tokens per second"], rows)
    by_checkpoints = table(
        [f"rerun over {len(gaps) + 1} checkpoints, 8 cases each", "seconds per checkpoint (median)"],
        [[name, f"{median(part):.2f}"] for name, part in parts if part],
    )
    results.show("Scaling", [by_cases, by_checkpoints], ["Cases beyond 64 repeat the prompts under other names."])


if __name__ == "__main__":
    main()
