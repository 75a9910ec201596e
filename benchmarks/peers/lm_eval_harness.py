"""lm-evaluation-harness: HFLM with ``peft=``, generate_until, batches of 32."""

from __future__ import annotations

import time
from typing import Any

from peer_protocol import serve


def start(job: dict[str, Any]) -> Any:
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    def evaluate(checkpoint: str) -> tuple[float, list[str]]:
        model = HFLM(pretrained=job["base"], peft=checkpoint, dtype=job["dtype"], device="cpu", batch_size=32)
        settings = {"until": [job["end"]], "max_gen_toks": job["max_new_tokens"], "do_sample": False}
        requests = [
            Instance(request_type="generate_until", doc={}, arguments=(text, dict(settings)), idx=number)
            for number, text in enumerate(job["prompts"])
        ]
        began = time.perf_counter()
        answers = model.generate_until(requests, disable_tqdm=True)
        return time.perf_counter() - began, answers

    return evaluate


serve(start)
