"""Seconds per checkpoint: Sidestep's engine beside four other ways, on the same real checkpoints and prompts.

    python -m benchmarks.per_checkpoint [--quick] [--fresh] [--minutes 6] [--only sidestep,lm_eval]

Every round takes the next checkpoint and lets all ways evaluate it one after the other; a resident program is stopped
(SIGSTOP) while it is not its turn. Rounds are kept: a run that reaches its time limit is continued by the next one.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from transformers import AutoTokenizer

from benchmarks.environments import prepare_environment
from benchmarks.results import Results, median, spread, table
from benchmarks.workload import MAX_NEW_TOKENS, ROOT, Workload, prepare_workload
from sidestep.shared.cpu_dtype import cpu_dtype

PEERS = Path(__file__).parent / "peers"
ROUNDS = 5
END = "<|im_end|>"


@dataclass(frozen=True)
class Way:
    """One way to evaluate: its program, its environment, whether a process serves one checkpoint or all, and whether
    its first checkpoint costs more than a further one and is not counted.
    """

    title: str
    program: str
    environment: str | None = None
    resident: bool = False
    warms_up: bool = False


WAYS = {
    "sidestep": Way("Sidestep's engine (resident)", "sidestep_engine.py", resident=True, warms_up=True),
    "lm_eval": Way("lm-evaluation-harness 0.4.13, `peft=`, batches of 32", "lm_eval_harness.py", "lm_eval"),
    "generate": Way("transformers `generate`, merged, batches of 32", "transformers_generate.py", resident=True),
    "vllm": Way("vLLM 0.32 (CPU build), LoRA request (resident)", "vllm_lora.py", "vllm", resident=True, warms_up=True),
    "blocking": Way("the old blocking design", "old_blocking_design.py", resident=True),
}


class Program:
    """A running peer. Its time starts when it is given a checkpoint."""

    def __init__(self, process: subprocess.Popen[str], errors: IO[bytes], began: float) -> None:
        self._process = process
        self._errors = errors
        self._began = began
        self._read_reply()  # it has loaded what it needs
        self.start_seconds = time.perf_counter() - began

    @classmethod
    def start(cls, way: Way, job: Path) -> Program:
        """Start a peer and wait until it is ready. Raises RuntimeError with what it printed when it ends."""
        python = str(prepare_environment(way.environment)) if way.environment else sys.executable
        environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
        path = {} if way.environment else {"PYTHONPATH": str(ROOT)}
        errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        began = time.perf_counter()
        process = subprocess.Popen(
            [python, str(PEERS / way.program), str(job)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=errors, text=True, bufsize=1, start_new_session=True,
            env=environment | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"} | path,
        )  # fmt: skip
        return cls(process, errors, began)

    def evaluate(self, checkpoint: Path) -> dict[str, Any]:
        """The peer's reply to a checkpoint. Raises RuntimeError when it ends instead."""
        assert self._process.stdin is not None
        self._signal(signal.SIGCONT)
        self._process.stdin.write(f"{checkpoint}\n")
        reply = self._read_reply()
        reply["since_start"] = time.perf_counter() - self._began
        return reply

    def pause(self) -> None:
        """Stop it until the next checkpoint."""
        self._signal(signal.SIGSTOP)

    def end(self) -> None:
        """Kill it."""
        self._signal(signal.SIGKILL)
        self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        os.killpg(self._process.pid, number)

    def _read_reply(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._errors.seek(0)
            raise RuntimeError(self._errors.read().decode(errors="replace")[-3000:])
        reply: dict[str, Any] = json.loads(line)
        return reply


def write_job(workload: Workload, folder: Path, prompts: int) -> Path:
    """Write the same prompts for everybody, rendered with the base model's chat template."""
    tokenizer = AutoTokenizer.from_pretrained(workload.base_model)
    chosen = workload.requests[:prompts]
    messages = [[(message.role, message.content) for message in request.messages] for request in chosen]
    texts = [
        tokenizer.apply_chat_template(
            [{"role": role, "content": text} for role, text in turns], add_generation_prompt=True, tokenize=False
        )
        for turns in messages
    ]
    job = {
        "base": str(workload.base_model.resolve()), "dtype": cpu_dtype(), "max_new_tokens": MAX_NEW_TOKENS,
        "messages": messages, "prompts": texts, "end": END,
    }  # fmt: skip
    path = folder / "job.json"
    path.write_text(json.dumps(job))
    return path


def measure(names: list[str], rounds: int, minutes: float, prompts: int, results: Results) -> None:
    """Let all ways evaluate, round after round, until the time is over; rounds that are there are left out."""
    workload, deadline = prepare_workload(), time.monotonic() + 60 * minutes
    done = {(row["way"], row["round"]) for row in results.rows}
    running: dict[str, Program] = {}
    with tempfile.TemporaryDirectory() as folder:
        job = write_job(workload, Path(folder), prompts)
        try:
            newest_first = workload.checkpoints[::-1]
            for number in range(rounds):
                checkpoint, other = (newest_first[n % len(newest_first)] for n in (number, number + 1))
                for name in names:
                    if (name, number) in done or time.monotonic() > deadline:
                        continue
                    measure_turn(name, number, (checkpoint, other), job, running, results)
        finally:
            for program in running.values():
                program.end()


def measure_turn(
    name: str, number: int, checkpoints: tuple[Path, Path], job: Path, running: dict[str, Program], results: Results
) -> None:
    """Let one way evaluate the first of ``checkpoints``; the other one, with other answers, is for warming up."""
    way, (checkpoint, other) = WAYS[name], checkpoints
    try:
        first = name not in running
        program = running.pop(name) if not first else Program.start(way, job)
        if way.warms_up and first:
            program.evaluate(other)
        reply = program.evaluate(checkpoint)
    except (RuntimeError, subprocess.CalledProcessError) as error:
        print(f"{name} failed:\n{error}", file=sys.stderr)
        return
    if way.resident:
        program.pause()
        running[name] = program
    else:
        reply["whole"] = reply["since_start"]
        program.end()
    results.add(
        way=name, round=number, checkpoint=checkpoint.name, generation=reply["generation"], whole=reply["whole"],
        start=program.start_seconds, answers=reply["answers"],
    )  # fmt: skip
    print(f"round {number} {name}: {reply['generation']:.2f} s, whole {reply['whole']:.2f} s", file=sys.stderr)


def show(names: list[str], results: Results, prompts: int) -> None:
    """Print the table of all rounds that are there."""
    ours = {row["round"]: row for row in results.rows if row["way"] == "sidestep"}
    lines = []
    for name in names:
        rows = [row for row in results.rows if row["way"] == name]
        if not rows or not ours:
            lines.append([WAYS[name].title, "not run", "", "", "", ""])
            continue
        both = [(row, ours[row["round"]]) for row in rows if row["round"] in ours]
        ratios = [median([row[key] / own[key] for row, own in both]) for key in ("generation", "whole")]
        same = [sum(a.strip() == b.strip() for a, b in zip(row["answers"], own["answers"], strict=True)) / prompts
                for row, own in both]  # fmt: skip
        lines.append(
            [
                WAYS[name].title,
                spread([row["generation"] for row in rows], 1),
                f"{ratios[0]:.1f} ×",
                spread([row["whole"] for row in rows], 1),
                f"{ratios[1]:.1f} ×",
                f"{median(same):.0%}",
            ]
        )
    header = ["how", "generation, s", "ratio", "whole checkpoint, s", "ratio", "same answers"]
    note = (
        f"{prompts} held-out prompts, at most {MAX_NEW_TOKENS} new tokens, greedy, {cpu_dtype()}, real LoRA "
        "checkpoints (r=8 on q, v, up, down), a round per checkpoint, all ways in turn. Medians (range). "
        "Whole, from the second checkpoint on: everything that a further checkpoint costs. Sidestep attaches, answers "
        "and detaches in a resident process; the harness is a process per checkpoint; `generate` and the old design "
        "load the base again. Other kernels round differently, so in bf16 not every answer is the same text."
    )
    results.show("Seconds per checkpoint", [table(header, lines)], [note])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round of 16 prompts")
    parser.add_argument("--fresh", action="store_true", help="forget earlier rounds")
    parser.add_argument("--minutes", type=float, default=6.0, help="stop after so long; the next run goes on")
    parser.add_argument("--only", default=",".join(WAYS), help="comma-separated: " + ", ".join(WAYS))
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    arguments = parser.parse_args()
    names, prompts = arguments.only.split(","), 16 if arguments.quick else 64
    results = Results("per_checkpoint_quick" if arguments.quick else "per_checkpoint", fresh=arguments.fresh)
    measure(names, 1 if arguments.quick else arguments.rounds, arguments.minutes, prompts, results)
    show(names, results, prompts)


if __name__ == "__main__":
    main()
