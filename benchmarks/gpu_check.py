"""Training and evaluation on one GPU: what it costs, how fast it is, how far from the card's limits it stays.

    python -m benchmarks.gpu_check               needs a CUDA device
    python -m benchmarks.gpu_check --dry-run     the same program on the CPU with a tiny model: shows that it works

For a model of 1.2 billion random parameters and for the small real one: tokens per second alone, as a share of what the
card can read and multiply (both measured here), the cost of a swap, memory, parking, how many answers change when
only the batch does, replay on and off where the engine has it; then a training beside the evaluator, A B A B, with
and without CUDA MPS (``--mps`` starts a daemon of its own where the card's tools are installed).
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from benchmarks import step_time
from benchmarks.floor import product_rate, read_rate
from benchmarks.results import Results, median, spread, table
from benchmarks.workload import BENCH, MODULES, Workload, prepare_workload
from sidestep.evaluator.cases.exchange import Answer, Decoding, Request
from sidestep.evaluator.engine.transformers_engine import TransformersEngine, create
from sidestep.evaluator.settings import EngineSettings

BILLION: dict[str, int] = {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 18}
TINY: dict[str, int] = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}


def random_model(real: Path, sizes: dict[str, int], name: str) -> tuple[Path, list[Path]]:
    """A random Llama with the real model's tokenizer, and three random LoRA checkpoints; made once."""
    folder = BENCH / name
    checkpoints = [folder / f"checkpoint-{n}" for n in (1, 2, 3)]
    if (folder / "complete").is_file():
        return folder / "base", checkpoints
    tokenizer = AutoTokenizer.from_pretrained(real)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), num_attention_heads=16, num_key_value_heads=4, max_position_embeddings=4096,
        eos_token_id=tokenizer.eos_token_id, **sizes,
    )  # fmt: skip
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    for number, checkpoint in enumerate(checkpoints):
        model = AutoModelForCausalLM.from_pretrained(folder / "base", dtype=torch.bfloat16)
        adapter = get_peft_model(model, LoraConfig(r=16, target_modules=MODULES, task_type="CAUSAL_LM"))
        torch.manual_seed(number)
        with torch.no_grad():
            for parameter in adapter.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.02 * torch.randn_like(parameter))
        adapter.save_pretrained(checkpoint)
    (folder / "complete").touch()
    return folder / "base", checkpoints


class Card:
    """The device, with the calls that only a GPU has."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.is_gpu = device != "cpu"

    def synchronize(self) -> None:
        """Wait for all that was asked of the device."""
        if self.is_gpu:
            torch.cuda.synchronize()

    def peak_mib(self) -> float:
        """Most memory that tensors have taken so far, NaN on a CPU."""
        return torch.cuda.max_memory_allocated() / 2**20 if self.is_gpu else float("nan")

    def held_mib(self) -> float:
        """Memory that tensors take now, NaN on a CPU."""
        return torch.cuda.memory_allocated() / 2**20 if self.is_gpu else float("nan")

    @property
    def name(self) -> str:
        """For people."""
        return torch.cuda.get_device_name() if self.is_gpu else "CPU (dry run: figures mean nothing)"


def replay_choices() -> list[bool | None]:
    """Replay on and off where the engine can be told so, else only what it does."""
    return [False, True] if any(setting.name == "replay" for setting in dataclasses.fields(EngineSettings)) else [None]


def engine_figures(
    card: Card, base: Path, checkpoints: list[Path], requests: list[Request], limit: int, rounds: int
) -> Iterator[list[str]]:
    """Rows about one model alone on the device."""
    multiply, read = product_rate(torch.bfloat16, card.device), read_rate(card.device)
    for replay in replay_choices():
        more: dict[str, Any] = {} if replay is None else {"replay": replay}
        engine = create(EngineSettings(str(base), card.device, "bfloat16", **more))
        parameters = sum(parameter.numel() for parameter in engine.model.parameters())
        rates, attached, detached = [], [], []
        tokens = steps = 0
        for number in range(rounds + 1):
            began = time.perf_counter()
            engine.attach(checkpoints[number % len(checkpoints)])
            card.synchronize()
            middle = time.perf_counter()
            found = answers(engine, requests, limit)
            passed = time.perf_counter() - middle
            between = time.perf_counter()
            engine.detach()
            card.synchronize()
            if number:
                tokens = sum(answer.prompt_tokens + answer.output_tokens for answer in found)
                steps = max(answer.output_tokens for answer in found)
                rates.append((sum(answer.output_tokens for answer in found) / passed, passed))
                attached.append(1000 * (middle - began))
                detached.append(1000 * (time.perf_counter() - between))
        seconds = median([passed for _, passed in rates])
        name = {None: "", False: ", replay off", True: ", replay on"}[replay]
        yield [f"answer tokens per second{name}", spread([rate for rate, _ in rates], 0)]
        yield [f"share of the arithmetic roofline{name}", f"{2 * parameters * tokens / multiply / seconds:.1%}"]
        yield [f"share of the memory roofline{name}", f"{steps * 2 * parameters / read / seconds:.1%}"]
        yield [f"attach, ms{name}", spread(attached, 0)]
        yield [f"detach, ms{name}", spread(detached, 1)]
        yield [f"peak memory, MiB{name}", f"{card.peak_mib():.0f}"]
        if replay in (None, False):
            yield from parking_figures(card, engine)
            yield ["answers that change with the batch", describe_flips(engine, requests, limit)]
        del engine


def answers(engine: TransformersEngine, requests: list[Request], limit: int) -> list[Answer]:
    """The engine's answers of at most ``limit`` tokens."""
    found: list[Answer] = []
    engine.answer(requests, Decoding(max_new_tokens=limit), found.append, lambda tokens: None)
    return found


def parking_figures(card: Card, engine: TransformersEngine) -> Iterator[list[str]]:
    """Rows about leaving the device."""
    began = time.perf_counter()
    engine.park()
    parked = time.perf_counter() - began
    yield ["park in host memory, ms", f"{1000 * parked:.0f}"]
    yield ["memory held while parked, MiB", f"{card.held_mib():.0f}"]


def describe_flips(engine: TransformersEngine, requests: list[Request], limit: int) -> str:
    """How many answers differ when cases are answered seven at a time instead of all together."""
    together = {answer.case_id: answer.text for answer in answers(engine, requests, limit)}
    in_sevens: dict[str, str] = {}
    for first in range(0, len(requests), 7):
        in_sevens |= {answer.case_id: answer.text for answer in answers(engine, requests[first : first + 7], limit)}
    return f"{sum(together[case] != in_sevens[case] for case in together)} of {len(together)}"


@contextmanager
def mps_daemon(folder: Path) -> Iterator[None]:
    """An MPS daemon of our own; the processes started meanwhile are its clients, the evaluator with a share of 20 %."""
    variables = {"CUDA_MPS_PIPE_DIRECTORY": str(folder / "pipe"), "CUDA_MPS_LOG_DIRECTORY": str(folder / "log")}
    for variable in variables.values():
        Path(variable).mkdir(parents=True)
    before = dict(os.environ)
    os.environ |= variables
    subprocess.run(["nvidia-cuda-mps-control", "-d"], check=True)
    try:
        yield
    finally:
        subprocess.run(["nvidia-cuda-mps-control"], input=b"quit\n", check=False)
        os.environ.clear()
        os.environ |= before


def measure_beside_training(card: Card, workload: Workload, options: argparse.Namespace, *, limited: bool) -> list[str]:
    """Step times of a training on the same device: alone, beside a worker that never rests, and governed."""
    with tempfile.TemporaryDirectory() as folder:
        training = step_time.Training.start(workload.base_model, card.device, Path(folder))
        try:
            training.wait_for_steps(5)
            if limited:
                os.environ |= {"CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": "20", "CUDA_MPS_CLIENT_PRIORITY": "1"}
            free = step_time.Evaluating.start(workload, card.device, None)
            free.begin(training)
            windows = step_time.alternate(training, free, options.alternations, options.seconds)
            free.worker.kill()
            governed = step_time.Evaluating.start(workload, card.device, 0.02)
            governed.begin(training)
            governed.run_for(4 * options.seconds)
            governed.worker.kill()
        finally:
            training.end()
    times = {
        kind: [seconds for window in windows if window[0] == kind for seconds in step_time.steps_in(training, window)]
        for kind in ("alone", "beside")
    }
    busy = sum(until - since for kind, since, until in windows if kind == "beside")
    return [
        f"{median(times['alone']):.3f}", f"{median(times['beside']):.3f}",
        step_time.describe_slowdown(training, windows),
        f"{60 * len(free.cases) / busy:.0f}", step_time.describe_reported_slowdown(governed),
        f"{60 * len(governed.cases) / (4 * options.seconds):.0f}",
    ]  # fmt: skip


def run(options: argparse.Namespace) -> None:
    """Measure everything, then show it."""
    card = Card("cpu" if options.dry_run else "cuda")
    workload, results = prepare_workload(), Results("gpu_check_dry_run" if options.dry_run else "gpu_check", fresh=True)
    sizes, name = (TINY, "random-tiny") if options.dry_run else (BILLION, "random-1b")
    random_base, random_checkpoints = random_model(workload.base_model, sizes, name)
    requests, limit = (workload.requests[:8], 8) if options.dry_run else (workload.requests, 96)
    models = [(f"random, {name}", random_base, random_checkpoints)]
    if not options.dry_run:
        models.append(("real, 135M", workload.base_model, list(workload.checkpoints)))
    tables = []
    for title, base, checkpoints in models:
        rows = list(engine_figures(card, base, checkpoints, requests, limit, options.rounds))
        results.add(model=title, rows=rows)
        tables.append(f"### {title}\n\n" + table(["alone on the device", ""], rows))
    trained = dataclasses.replace(workload, base_model=random_base, checkpoints=tuple(random_checkpoints))
    lines = [["without MPS", *measure_beside_training(card, trained, options, limited=False)]]
    notes = []
    if options.mps and shutil.which("nvidia-cuda-mps-control"):
        with tempfile.TemporaryDirectory() as folder, mps_daemon(Path(folder)):
            lines.append(["with MPS", *measure_beside_training(card, trained, options, limited=True)])
    else:
        notes.append("MPS was not measured: --mps was not given, or nvidia-cuda-mps-control is not installed.")
    if replay_choices() == [None]:
        notes.append("Replay was not compared: this engine has no such setting.")
    header = ["training beside the evaluator", "alone, s", "beside, s", "slowdown, never resting", "cases per minute",
              "slowdown, governed", "cases per minute, governed"]  # fmt: skip
    results.add(beside=lines)
    tables.append(table(header, lines))
    results.show(f"One GPU for both: {card.name}", tables, notes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--mps", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--alternations", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args()
    if options.dry_run:
        options.rounds, options.alternations, options.seconds = 1, 1, 4.0
    elif not torch.cuda.is_available():
        raise SystemExit("no CUDA device: nothing was checked (--dry-run shows on a CPU that the program works)")
    run(options)


if __name__ == "__main__":
    main()
