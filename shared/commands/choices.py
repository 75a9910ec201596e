"""What options let people choose between, by name. Imports nothing, so that every layer can use the words."""

from __future__ import annotations

from enum import StrEnum


class Dtype(StrEnum):
    """Precision of the evaluation; the last two quantize the base model's weights."""

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"
    INT8 = "int8"
    INT4 = "int4"


class Order(StrEnum):
    """Newest first says something about now while training runs; what it leaves behind is taken when idle.

    Oldest first suits old checkpoints: each finds its predecessor already evaluated.
    """

    NEWEST = "newest"
    OLDEST = "oldest"


class DecodingChoice(StrEnum):
    """Greedy makes checkpoints comparable; ``manifest`` samples as the manifest's ``training.decoding`` says."""

    GREEDY = "greedy"
    MANIFEST = "manifest"
