"""Which precision this processor computes fast: the same rule for training and evaluation.

With AVX-512 or AMX bf16 instructions, bfloat16 products run about four times as fast as float32; without them about
eight times slower (docs/decisions). Read from the processor's flags, so that no torch is needed to decide.
"""

from __future__ import annotations

from pathlib import Path

_FAST_BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # the last is Arm's name for it


def cpu_dtype(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """``bfloat16`` or ``float32``."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return "float32"
    flags = {flag for line in lines if line.lower().startswith(("flags", "features")) for flag in line.split()}
    return "bfloat16" if flags & _FAST_BF16_FLAGS else "float32"
