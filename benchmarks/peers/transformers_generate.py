"""transformers' ``generate`` as a careful script uses it: adapter merged, left-padded batches of 32."""

from __future__ import annotations

import time
from typing import Any

from peer_protocol import serve


def start(job: dict[str, Any]) -> Any:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(job["base"], padding_side="left")
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token

    def evaluate(checkpoint: str) -> tuple[float, list[str]]:
        base = AutoModelForCausalLM.from_pretrained(job["base"], dtype=getattr(torch, job["dtype"]))
        model = PeftModel.from_pretrained(base, checkpoint).merge_and_unload().eval()
        began = time.perf_counter()
        answers: list[str] = []
        for first in range(0, len(job["prompts"]), 32):
            batch = tokenizer(job["prompts"][first : first + 32], return_tensors="pt", padding=True)
            with torch.inference_mode():
                out = model.generate(
                    **batch, max_new_tokens=job["max_new_tokens"], do_sample=False, pad_token_id=tokenizer.pad_token_id
                )
            answers += tokenizer.batch_decode(out[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
        return time.perf_counter() - began, answers

    return evaluate


serve(start)
