"""How far the engine is from what the machine can do, both measured in one run, in turns.

    python -m benchmarks.floor [--quick]

Arithmetic: 2 x parameters x tokens, at the rate of one large product. Bandwidth: the weights read once for every decode
step of the longest answer, at the rate of reading a large tensor. No engine can be faster than the larger of the two.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence

import torch

from benchmarks.results import Results, median, spread, table
from benchmarks.workload import MAX_NEW_TOKENS, prepare_workload
from sidestep.evaluator.cases.exchange import Answer, Decoding, Request
from sidestep.evaluator.engine.transformers_engine import TransformersEngine, create
from sidestep.evaluator.settings import EngineSettings
from sidestep.shared.cpu_dtype import cpu_dtype

SIDE = 2048
READ_BYTES = 1 << 29


def seconds_per_call(call: Callable[[], object], at_least: float = 0.3) -> float:
    """Mean seconds of a call, over as many calls as fill ``at_least`` seconds."""
    call()
    count, began = 0, time.perf_counter()
    while (passed := time.perf_counter() - began) < at_least:
        call()
        count += 1
    return passed / count


def product_rate(dtype: torch.dtype, device: str = "cpu") -> float:
    """Floating point operations per second in one large product."""
    a, b = (torch.randn(SIDE, SIDE, dtype=dtype, device=device) for _ in range(2))
    return 2 * SIDE**3 / seconds_per_call(lambda: _synchronize(a @ b))


def read_rate(device: str = "cpu") -> float:
    """Bytes per second when a large tensor is read."""
    data = torch.ones(READ_BYTES // 4, dtype=torch.float32, device=device)
    return READ_BYTES / seconds_per_call(lambda: _synchronize(data.sum()))


def _synchronize(tensor: torch.Tensor) -> None:
    if tensor.is_cuda:
        torch.cuda.synchronize()


def time_answering(engine: TransformersEngine, requests: Sequence[Request], answers: list[Answer]) -> float:
    """Seconds to answer all requests; the answers are appended to ``answers``."""
    began = time.perf_counter()
    engine.answer(requests, Decoding(max_new_tokens=MAX_NEW_TOKENS), answers.append, lambda tokens: None)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--dtype", default=cpu_dtype())
    arguments = parser.parse_args()
    rounds = 2 if arguments.quick else 5
    workload, results = prepare_workload(), Results("floor", fresh=True)
    engine = create(EngineSettings(str(workload.base_model), "cpu", arguments.dtype, replay=False))
    engine.attach(workload.checkpoints[-1])
    drafting = create(EngineSettings(str(workload.base_model), "cpu", arguments.dtype, replay=True))
    dtype = getattr(torch, arguments.dtype)
    parameters = sum(parameter.numel() for parameter in engine.model.parameters())
    weight_bytes = parameters * dtype.itemsize
    products, reads, times, drafted = [], [], [], []
    answers: list[Answer] = []
    for number in range(rounds + 1):
        rates = product_rate(dtype), read_rate()
        answers = []
        passed = time_answering(engine, workload.requests, answers)
        drafting.attach(workload.checkpoints[-2])
        time_answering(drafting, workload.requests, [])
        drafting.attach(workload.checkpoints[-1])
        after = time_answering(drafting, workload.requests, [])
        if number:  # the first one warms up
            products.append(rates[0])
            reads.append(rates[1])
            times.append(passed)
            drafted.append(after)
    tokens = sum(answer.prompt_tokens + answer.output_tokens for answer in answers)
    steps = max(answer.output_tokens for answer in answers)
    arithmetic = 2 * parameters * tokens / median(products)
    bandwidth = steps * weight_bytes / median(reads)
    bound = max(arithmetic, bandwidth)
    results.add(
        products=products, reads=reads, generation=times, tokens=tokens, steps=steps, arithmetic=arithmetic,
        bandwidth=bandwidth, drafted=drafted,
    )  # fmt: skip
    rows = [
        ["one large product, GFLOP/s", spread([rate / 1e9 for rate in products], 0)],
        ["reading, GB/s", spread([rate / 1e9 for rate in reads], 1)],
        [f"arithmetic floor: {parameters / 1e6:.1f} M parameters, {tokens} tokens, s", f"{arithmetic:.2f}"],
        [f"bandwidth floor: {weight_bytes / 1e6:.0f} MB, {steps} steps, s", f"{bandwidth:.2f}"],
        ["both, one after the other, s", f"{arithmetic + bandwidth:.2f}"],
        ["generation measured, s", spread(times)],
        ["× the larger floor", f"{median(times) / bound:.2f}"],
        ["generation with the drafts of the checkpoint before, s", spread(drafted)],
        ["× the larger floor", f"{median(drafted) / bound:.2f}"],
    ]
    note = f"{len(answers)} prompts of the workload in {arguments.dtype}, the last checkpoint."
    results.show("Distance from the floor", [table(["", ""], rows)], [note])


if __name__ == "__main__":
    main()
