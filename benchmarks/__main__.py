"""``make bench``: every benchmark, one after the other, in processes of their own with a time limit.

    python -m benchmarks [--quick] [--only floor,latency]

Tables are printed and kept under ``.cache/bench/results``; one that fails does not keep the others from running.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

from benchmarks.workload import BASE_MODEL, ROOT, prepare_workload

LIMIT_SECONDS = 900
BENCHMARKS: dict[str, list[str]] = {
    "per_checkpoint": ["-m", "benchmarks.per_checkpoint", "--minutes", "12"],
    "exactness": ["-m", "benchmarks.exactness"],
    "floor": ["-m", "benchmarks.floor"],
    "step_time": ["-m", "benchmarks.step_time"],
    "publish_blocking": ["-m", "benchmarks.publish_blocking", str(BASE_MODEL)],
    "adapter_types": ["-m", "benchmarks.adapter_types", str(BASE_MODEL)],
    "trainer_overhead": ["-m", "benchmarks.trainer_overhead", str(BASE_MODEL)],
    "latency": ["-m", "benchmarks.latency"],
    "scaling": ["-m", "benchmarks.scaling"],
    "dashboard": ["-m", "benchmarks.dashboard"],
    "verdict_simulation": ["-m", "benchmarks.verdict_simulation"],
}
TAKES_QUICK = {"per_checkpoint", "exactness", "floor", "step_time", "latency", "scaling"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few rounds: shows that everything runs")
    parser.add_argument("--only", default=",".join(BENCHMARKS))
    arguments = parser.parse_args()
    prepare_workload()
    failed = []
    for name in arguments.only.split(","):
        quick = ["--quick"] if arguments.quick and name in TAKES_QUICK else []
        try:
            done = subprocess.run([sys.executable, *BENCHMARKS[name], *quick], cwd=ROOT, timeout=LIMIT_SECONDS)
            ended = done.returncode == 0
        except subprocess.TimeoutExpired:
            ended = False
        if not ended:
            failed.append(name)
    if failed:
        raise SystemExit(f"failed, or not done within {LIMIT_SECONDS} s: {', '.join(failed)}")


if __name__ == "__main__":
    main()
