"""The main job on the example expert: a trainer and an evaluator side by side.

Copies ``examples/shop`` into a fresh run folder, so that the example stays as it is, and becomes ``sidestep up``.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

SHOP = Path(__file__).resolve().parent / "shop"
DEMO_MARK = ".sidestep-demo"
# At the default of 2 % two minutes of training could not pay for one evaluation, and all results came after it; 20 %
# paid for little more than loading the base model. At 50 % a checkpoint's results come seconds after it.
MAX_SLOWDOWN = "0.5"


def main() -> None:
    parser = argparse.ArgumentParser(description="Run `sidestep up` on a copy of examples/shop.")
    parser.add_argument("--run", type=Path, default=Path("runs/demo"), help="folder of the run; emptied first")
    parser.add_argument("--base-model", type=Path, required=True, help="folder of the base model")
    parser.add_argument("more", nargs="*", help="further arguments for `sidestep up`, after --")
    arguments = parser.parse_args()
    prepare(arguments.run)
    command = ["sidestep", "up", str(arguments.run), "--base-model", str(arguments.base_model)]
    command += ["--max-slowdown", MAX_SLOWDOWN, *arguments.more]
    say("$ " + " ".join(command))
    # Becoming the command, instead of calling it, leaves Ctrl-C and the exit status to it.
    os.execv(Path(sys.executable).with_name("sidestep"), command)  # noqa: S606


def prepare(run: Path) -> None:
    """Make ``run`` a fresh copy of the example. Removes an earlier run of the demo, and nothing else."""
    if run.exists():
        if not (run / DEMO_MARK).is_file():
            raise SystemExit(
                f"error: {run} exists and is not an earlier run of the demo (choose another: make demo RUN=…)"
            )
        say(f"removing the earlier run in {run}")
        shutil.rmtree(run)
    run.mkdir(parents=True)
    (run / DEMO_MARK).touch()  # first, so that a copy that was cut short can be removed, too
    shutil.copytree(SHOP, run, dirs_exist_ok=True)


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
