"""The design that Sidestep replaces: base loaded anew, adapter attached without merging, one prompt at a time.

It ran inside the training loop, at every save: all of this was time that training stood still.
"""

from __future__ import annotations

import time
from typing import Any

from peer_protocol import serve


def start(job: dict[str, Any]) -> Any:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    def evaluate(checkpoint: str) -> tuple[float, list[str]]:
        tokenizer = AutoTokenizer.from_pretrained(job["base"])
        base = AutoModelForCausalLM.from_pretrained(job["base"], dtype=getattr(torch, job["dtype"]))
        model = PeftModel.from_pretrained(base, checkpoint).eval()
        began = time.perf_counter()
        answers = []
        for prompt in job["prompts"]:
            batch = tokenizer(prompt, return_tensors="pt")
            with torch.inference_mode():
                out = model.generate(
                    **batch, max_new_tokens=job["max_new_tokens"], do_sample=False, pad_token_id=tokenizer.eos_token_id
                )
            answers.append(tokenizer.decode(out[0, batch["input_ids"].shape[1] :], skip_special_tokens=True))
        return time.perf_counter() - began, answers

    return evaluate


serve(start)
