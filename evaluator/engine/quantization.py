"""Quantized base models through bitsandbytes, with the settings that the trainer trains with."""

from __future__ import annotations

import importlib.util

import torch
from transformers import BitsAndBytesConfig

from sidestep.shared.errors import ConfigError


def bitsandbytes_config(quantization: str, dtype: torch.dtype) -> BitsAndBytesConfig:
    """int8 (LLM.int8, arXiv 2208.07339), or int4 as nf4 with double quantization (QLoRA, arXiv 2305.14314).

    ``dtype`` is what int4 products are computed in. Raises ConfigError where bitsandbytes is not installed.
    """
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ConfigError(
            f"--dtype {quantization} needs bitsandbytes, which is not installed",
            hint="pip install bitsandbytes, or evaluate in --dtype auto",
        )
    if quantization == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )
