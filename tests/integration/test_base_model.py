"""The converted base model is the model it should be: it loads from ordinary files, answers, and stops."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.model

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folder() -> Path:
    cache = Path(os.environ.get("SIDESTEP_CACHE") or PROJECT / ".cache")
    if not (cache / "smollm2-135m-instruct" / "READY").is_file():
        pytest.skip("the base model has not been converted (make setup)")
    return cache / "smollm2-135m-instruct"


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def test_files_say_nothing_of_where_they_came_from(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    assert "quantization_config" not in config
    assert config["dtype"] == "bfloat16"
    assert not [path.name for path in folder.iterdir() if path.suffix in {".bin", ".pt", ".gguf"}]


def test_chat_tokens_are_single_tokens(tokenizer: Any) -> None:
    ids = tokenizer("<|im_start|>user\nhello <|im_end|>", add_special_tokens=False).input_ids
    assert (ids[0], ids[-1]) == (tokenizer.bos_token_id, tokenizer.eos_token_id) == (1, 2)
    assert tokenizer.decode(ids) == "<|im_start|>user\nhello <|im_end|>"
    assert (tokenizer.pad_token, tokenizer.unk_token) == ("<|im_end|>", "<|endoftext|>")


def test_spaces_before_punctuation_survive(tokenizer: Any) -> None:
    text = "SELECT a , b FROM t WHERE c = 'x' ;"
    assert tokenizer.decode(tokenizer(text).input_ids) == text


def test_it_answers_and_stops(folder: Path, tokenizer: Any) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder)
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is the capital of France?"}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    written = model.generate(**prompt, max_new_tokens=40, do_sample=False)[0][prompt["input_ids"].shape[1] :]
    assert "Paris" in tokenizer.decode(written, skip_special_tokens=True)
    assert written[-1] == tokenizer.eos_token_id
