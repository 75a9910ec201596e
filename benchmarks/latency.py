"""From marker to report while nothing else runs, the cost of a swap, and memory: the evaluator as a user starts it.

    python -m benchmarks.latency [--quick]

``sidestep-evaluator watch`` waits on an empty folder; checkpoints are published one at a time, as a trainer does it.
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
from pathlib import Path

import psutil

from benchmarks.results import Results, spread, table
from benchmarks.workload import ROOT, Workload, prepare_workload
from sidestep.evaluator.engine.transformers_engine import create
from sidestep.evaluator.settings import EngineSettings
from sidestep.shared.protocol.layout import MARKER_NAME, ModelFolder
from sidestep.shared.protocol.marker import Marker
from sidestep.shared.protocol.outbox import stage


def watch_and_publish(workload: Workload, count: int) -> tuple[list[dict[str, float]], dict[str, float]]:
    """Seconds of ``count`` evaluations by part, and the memory of both processes afterwards."""
    with tempfile.TemporaryDirectory(dir=workload.expert.parent) as folder:
        expert = Path(folder) / "expert"
        (expert / "tests").mkdir(parents=True)
        for name in ("manifest.json", "tests/test_cases.json"):
            shutil.copy(workload.expert / name, expert / name)
        model = ModelFolder(expert / "weights" / "smollm2-135m-instruct")
        model.root.mkdir(parents=True)
        environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
        process = subprocess.Popen(
            [sys.executable, "-m", "sidestep.evaluator", "watch", str(expert),
             "--base-model", str(workload.base_model)],
            cwd=ROOT, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            wait_for(expert / "weights/training_reports/base/outcome.json", process)
            timings = []
            for number in range(count):
                source = workload.checkpoints[number % len(workload.checkpoints)]
                timings.append(time_publishing(source, model, number + 1, process))
            return timings, memory_mib(process.pid)
        finally:
            process.terminate()
            process.wait()


def time_publishing(source: Path, model: ModelFolder, step: int, process: subprocess.Popen[bytes]) -> dict[str, float]:
    checkpoint = model.checkpoint(step)
    shutil.copytree(source, checkpoint, ignore=shutil.ignore_patterns(MARKER_NAME, "optimizer.pt"))
    began = time.time()
    held = stage(model, checkpoint, lambda files: Marker(run_id="b", step=step, files=files, published_at=time.time()))
    (checkpoint / MARKER_NAME).write_bytes(held.marker.to_bytes())
    report = model.root.parent / "training_reports" / f"checkpoint-{step}" / "report.json"
    wait_for(report, process)
    timing = json.loads(report.read_text())["timing"]
    return {
        "latency": time.time() - began, "attach": timing["attach_seconds"], "generate": timing["generate_seconds"]
    }  # fmt: skip


def wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    while not path.exists():
        if process.poll() is not None:
            raise RuntimeError(f"the evaluator ended with status {process.returncode}")
        time.sleep(0.02)


def memory_mib(pid: int) -> dict[str, float]:
    """Resident MiB of supervisor and worker; what the worker shares with other processes counts for a part (PSS)."""
    supervisor = psutil.Process(pid)
    worker = supervisor.children()[0]
    return {
        "supervisor": supervisor.memory_info().rss / 2**20,
        "worker": worker.memory_info().rss / 2**20,
        "worker, proportional": worker.memory_full_info().pss / 2**20,
    }


def time_swaps(workload: Workload, count: int) -> tuple[list[float], list[float]]:
    """Seconds to attach and to detach, in the engine alone."""
    engine = create(EngineSettings(str(workload.base_model), "cpu"))
    attached, detached = [], []
    for number in range(count + 2):
        began = time.perf_counter()
        engine.attach(workload.checkpoints[number % len(workload.checkpoints)])
        between = time.perf_counter()
        engine.detach()
        attached.append(between - began)
        detached.append(time.perf_counter() - between)
    return attached[2:], detached[2:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    workload, results = prepare_workload(), Results("latency", fresh=True)
    attached, detached = time_swaps(workload, 3 if quick else 20)
    timings, used = watch_and_publish(workload, 2 if quick else 8)
    results.add(attached=attached, detached=detached, timings=timings, memory=used)
    rest = [timing["latency"] - timing["attach"] - timing["generate"] for timing in timings]
    milliseconds = [[1000 * second for second in seconds] for seconds in (attached, detached)]
    rows = [
        ["marker to report, 64 cases, s", spread([timing["latency"] for timing in timings])],
        ["of it: loading and checking the checkpoint, s", spread([timing["attach"] for timing in timings])],
        ["of it: answering and scoring, s", spread([timing["generate"] for timing in timings])],
        ["of it: everything else (noticing, claim, commit, derived files), s", spread(rest)],
        ["attach an adapter (engine), ms", spread(milliseconds[0], 0)],
        ["detach, ms", spread(milliseconds[1], 1)],
        *([f"memory of the {name}, MiB", f"{value:.0f}"] for name, value in used.items()),
    ]
    results.show("Latency, swap, memory", [table(["", "median (range)"], rows)], ["No training beside it."])


if __name__ == "__main__":
    main()
