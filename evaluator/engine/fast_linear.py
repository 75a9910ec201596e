"""Linear layers in the form this processor computes fast.

On a CPU weights are reordered once into the blocks that oneDNN's kernels read; a product of 64 rows then runs at
630 instead of 380 GFLOP/s (2 cores with AVX-512 bf16), and activations and residual sums ride along. PyTorch's own
compiler emits these operators. Elsewhere, and where memory is short, they are ordinary linear layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as functional

_mkldnn: Any = torch.ops.mkldnn  # operators carry no types


def can_pack(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether this build of PyTorch has the operators, and they take this dtype on this processor: it is tried."""
    if device.type != "cpu" or dtype not in (torch.float32, torch.bfloat16):
        return False
    try:
        packed = _mkldnn._reorder_linear_weight(torch.zeros(16, 16, dtype=dtype))
        _mkldnn._linear_pointwise(torch.zeros(4, 16, dtype=dtype), packed, None, "none", [], "")
    except (AttributeError, RuntimeError):
        return False
    return True


class FastLinear:
    """x @ W.T + b for rows x [rows, in features], where W stacks the weights of one or several linear layers.

    The base model's packed form is kept; a checkpoint's is made when it changes one of the layers, and dropped after.
    """

    def __init__(self, *layers: torch.nn.Linear, packed: bool) -> None:
        """``layers`` take the same input; their outputs are one behind the other, [rows, sum of out features]."""
        self._layers = layers
        self._packed = packed
        self._base = self._stacked()
        self._weight, self._bias = self._base

    def refresh(self, changed: frozenset[int]) -> None:
        """Take the layers' weights as they are now; ``changed`` are the ids of parameters that differ from the base."""
        own = {id(parameter) for layer in self._layers for parameter in layer.parameters()}
        self._weight, self._bias = self._stacked() if own & changed else self._base

    def _stacked(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        weight = _concatenated([layer.weight.data for layer in self._layers])
        biases = [layer.bias.data for layer in self._layers if layer.bias is not None]
        return (
            _mkldnn._reorder_linear_weight(weight) if self._packed else weight,
            _concatenated(biases) if biases else None,
        )

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        if self._packed:
            return _tensor(_mkldnn._linear_pointwise(rows, self._weight, self._bias, "none", [], ""))
        return functional.linear(rows, self._weight, self._bias)

    def silu(self, rows: torch.Tensor) -> torch.Tensor:
        """silu(x @ W.T + b), [rows, out features]."""
        if self._packed:
            return _tensor(_mkldnn._linear_pointwise(rows, self._weight, self._bias, "swish", [], ""))
        return functional.silu(self(rows))

    def times(self, rows: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
        """(x @ W.T + b) * factor, elementwise; ``factor`` and the result are [rows, out features]."""
        if self._packed:
            return _tensor(_mkldnn._linear_pointwise.binary(rows, factor, self._weight, self._bias, "mul"))
        return self(rows).mul_(factor)

    def plus(self, rows: torch.Tensor, summand: torch.Tensor) -> torch.Tensor:
        """(x @ W.T + b) + summand; ``summand`` and the result are [rows, out features]."""
        if self._packed:
            return _tensor(_mkldnn._linear_pointwise.binary(rows, summand, self._weight, self._bias, "add"))
        return self(rows).add_(summand)


def _concatenated(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    return tensors[0] if len(tensors) == 1 else torch.cat(list(tensors))


def _tensor(value: Any) -> torch.Tensor:
    assert isinstance(value, torch.Tensor)
    return value
