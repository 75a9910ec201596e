"""vLLM (CPU build): the base model resident, each checkpoint a LoRA request."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parent)]
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")

from speaking import serve


def start(job: dict[str, Any]) -> Any:
    from vllm import LLM, SamplingParams
    from vllm.lora.request import LoRARequest

    model = LLM(
        job["base"], dtype=job["dtype"], enable_lora=True, max_lora_rank=8, max_model_len=1024, max_num_seqs=64
    )
    settings = SamplingParams(temperature=0.0, max_tokens=job["max_new_tokens"])
    numbers: dict[str, int] = {}

    def evaluate(checkpoint: str) -> tuple[float, list[str]]:
        number = numbers.setdefault(checkpoint, len(numbers) + 1)
        request = LoRARequest(f"adapter-{number}", number, checkpoint)
        began = time.perf_counter()
        out = model.generate(job["prompts"], settings, lora_request=request, use_tqdm=False)
        return time.perf_counter() - began, [each.outputs[0].text for each in out]

    return evaluate


if __name__ == "__main__":
    serve(start)
