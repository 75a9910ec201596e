"""Which row counts give the same bits on this machine: tried at start, not assumed.

Matrix products treat rows in groups; rows left over after the last group take another path with other last bits.
Libraries and processors differ in the size of the groups, so the worker multiplies a few rows by the model's own
matrices and chooses the smallest group for which a row's result does not depend on how many others there are.
"""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from transformers import PreTrainedModel

GROUPS = (4, 8, 16)
_ROWS = 48


@torch.inference_mode()
def probe_row_group(model: PreTrainedModel) -> tuple[int, str]:
    """Row group to use, and what was found, in words."""
    matrices = _matrices(model)
    for group in GROUPS:
        if all(_is_invariant(matrix, group) for matrix in matrices):
            return (
                group,
                f"row groups of {group} give bit-identical products in {str(model.dtype).removeprefix('torch.')}",
            )
    return GROUPS[0], "no row group tried gives bit-identical products here: answers may depend on the batch"


def _matrices(model: PreTrainedModel) -> list[torch.Tensor]:
    """One matrix of each shape among the linear layers, the vocabulary matrix included."""
    by_shape = {
        tuple(module.weight.shape): module.weight for module in model.modules() if isinstance(module, torch.nn.Linear)
    }
    return list(by_shape.values())


def _is_invariant(matrix: torch.Tensor, group: int) -> bool:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(_ROWS, matrix.shape[1], generator=generator).to(matrix.device, matrix.dtype)
    whole = functional.linear(rows, matrix)
    return all(
        torch.equal(functional.linear(rows[:count], matrix), whole[:count]) for count in range(group, _ROWS, group)
    )
