"""Keeps int4 weights as they were loaded: on some processors bitsandbytes packs them anew for evaluation."""

from __future__ import annotations

from collections.abc import Iterable


def keep_exact(modules: Iterable[object]) -> None:
    """Keep the int4 weights of a model's ``modules`` as they are; called once after loading.

    With AVX-512 bf16, bitsandbytes packs a layer's weights at its first forward pass in evaluation mode, and unpacks
    them whenever a state dict is read, as PEFT does; scales are rounded on the way, so after a few adapters the base
    would not be the base any more. And while they are packed, DoRA takes its norms from what it believes to be the old
    form: after one validation a training went on with three times its loss.
    """
    for module in modules:
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
