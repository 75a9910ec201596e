"""Results as JSON lines, so that a benchmark that was cut short goes on, and as Markdown tables for people."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.workload import BENCH, ROOT

RESULTS = BENCH / "results"


class Results:
    """All measurements of one benchmark: ``.cache/bench/results/<name>.jsonl`` and ``.md``."""

    def __init__(self, name: str, *, fresh: bool = False) -> None:
        """With the measurements of earlier runs, unless ``fresh``; those are then replaced by the first new one."""
        self.name = name
        self._path = RESULTS / f"{name}.jsonl"
        self.rows: list[dict[str, Any]] = []
        if self._path.is_file() and not fresh:
            self.rows = [json.loads(line) for line in self._path.read_text().splitlines()]

    def add(self, **row: Any) -> None:
        """Keep one measurement, with the time and the commit."""
        row |= {"at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "commit": commit()}
        self.rows.append(row)
        RESULTS.mkdir(parents=True, exist_ok=True)
        self._path.write_text("".join(json.dumps(kept) + "\n" for kept in self.rows))

    def show(self, title: str, tables: Sequence[str], notes: Sequence[str] = ()) -> None:
        """Print the section, and keep it beside the rows."""
        text = "\n\n".join([f"## {title}", machine(), *tables, *notes]) + "\n"
        (RESULTS / f"{self.name}.md").write_text(text)
        print(text, flush=True)


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def median(values: Sequence[float]) -> float:
    """The median, or NaN of nothing."""
    return statistics.median(values) if values else float("nan")


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Median and range, for people."""
    if not values:
        return "not run"
    return f"{median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f}, n={len(values)})"


def commit() -> str:
    """The commit that is checked out, in short; empty outside a repository."""
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip()


def machine() -> str:
    """What a reader must know to make sense of a figure."""
    flags, name = "", platform.machine()
    if Path("/proc/cpuinfo").is_file():
        text = Path("/proc/cpuinfo").read_text()
        name = next((line.split(":")[1].strip() for line in text.splitlines() if line.startswith("model name")), name)
        flags = ", ".join(flag for flag in ("amx_bf16", "avx512_bf16", "avx512f", "avx2") if flag in text)
    versions = ", ".join(f"{package} {version(package)}" for package in ("torch", "transformers", "peft"))
    day = time.strftime("%Y-%m-%d", time.gmtime())
    return f"{day}, {os.cpu_count()} cores of {name} ({flags}), Python {platform.python_version()}, {versions}."
