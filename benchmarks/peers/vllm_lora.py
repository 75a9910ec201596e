"""vLLM (CPU build): the base model resident, every checkpoint a LoRA request."""

from __future__ import annotations

import os
import time
from typing import Any

from peer_protocol import serve


def start(job: dict[str, Any]) -> Any:
    os.environ |= {"VLLM_CPU_KVCACHE_SPACE": "2", "VLLM_NO_USAGE_STATS": "1"}
    from vllm import LLM, SamplingParams
    from vllm.lora.request import LoRARequest

    model = LLM(job["base"], dtype=job["dtype"], enable_lora=True, max_lora_rank=8, max_model_len=1024, max_num_seqs=64)
    settings = SamplingParams(temperature=0.0, max_tokens=job["max_new_tokens"])
    numbers: dict[str, int] = {}

    def evaluate(checkpoint: str) -> tuple[float, list[str]]:
        number = numbers.setdefault(checkpoint, len(numbers) + 1)
        request = LoRARequest(f"adapter-{number}", number, checkpoint)
        began = time.perf_counter()
        outputs = model.generate(job["prompts"], settings, lora_request=request, use_tqdm=False)
        return time.perf_counter() - began, [output.outputs[0].text for output in outputs]

    return evaluate


if __name__ == "__main__":
    serve(start)
