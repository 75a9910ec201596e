"""The protocol of every peer program: a job file at the start, one line per checkpoint in, one per result out.

Imports nothing of this project, so that it works in the environments of others.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

Evaluation = tuple[float, list[str]]  # seconds of generation alone, and the answers in the order of the prompts


def serve(start: Callable[[dict[str, Any]], Callable[[str], Evaluation]]) -> None:
    """Evaluate the checkpoints named on standard input until it ends.

    ``start`` gets the job and returns what answers all prompts with the checkpoint in a folder.
    """
    if sys.platform.startswith("linux"):  # die with the benchmark, even while stopped
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever libraries print
    with open(sys.argv[1]) as file:  # noqa: PTH123
        job = json.load(file)
    began = time.perf_counter()
    evaluate = start(job)
    out.write(json.dumps({"ready": time.perf_counter() - began}) + "\n")
    for line in sys.stdin:
        began = time.perf_counter()
        generation, answers = evaluate(line.strip())
        whole = time.perf_counter() - began
        out.write(json.dumps({"generation": generation, "whole": whole, "answers": answers}) + "\n")
