"""Memory of a GPU on which training has precedence: a limit for this process, a budget for each suite, and parking.

Everything asks through ``Cuda``, so that tests can put a device of their own in its place. The driver's own figure
(NVML) is preferred where its package is installed, because it counts every process.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Protocol, cast

import torch

from sidestep.shared.logs import get_logger

log = get_logger("evaluator.engine")

CPU_CACHE_BYTES = 2 << 30  # keys and values on the CPU
CACHE_SHARE = 0.25  # of the memory that is free on a GPU: the rest stays for training's peaks
GROWTH_SHARE = 0.5  # of the memory that is free after loading: what this process may take at most


class Cuda(Protocol):
    """What is asked of a GPU: the functions of ``torch.cuda`` of the same names."""

    def mem_get_info(self, device: torch.device) -> tuple[int, int]:
        """(free, total) in bytes."""
        ...

    def memory_reserved(self, device: torch.device) -> int:
        """Bytes that this process holds."""
        ...

    def set_per_process_memory_fraction(self, fraction: float, device: torch.device) -> None:
        """Let torch raise OutOfMemoryError beyond this fraction of the device's memory."""
        ...

    def empty_cache(self) -> None:
        """Give memory that no tensor uses back to the device."""
        ...


TORCH_CUDA = cast(Cuda, torch.cuda)


def free_bytes(device: torch.device, cuda: Cuda = TORCH_CUDA, nvml: Callable[[int], int] | None = None) -> int:
    """Free memory of the device in bytes, whoever uses the rest. ``nvml`` asks the driver by the device's index."""
    try:
        return (nvml or _nvml_free)(device.index or 0)
    except (ImportError, OSError, RuntimeError):
        return cuda.mem_get_info(device)[0]


def _nvml_free(index: int) -> int:
    import pynvml

    try:
        pynvml.nvmlInit()
        visible = torch.cuda.get_device_properties(index).uuid
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{visible}")
        return int(pynvml.nvmlDeviceGetMemoryInfo(handle).free)
    except pynvml.NVMLError as error:
        raise RuntimeError(str(error)) from error


def limit_memory(device: torch.device, share: float | None, cuda: Cuda = TORCH_CUDA) -> float | None:
    """Limit this process to a share of the device's memory; by default to what it holds and half of what is free.

    Called once the base model is loaded. Returns the share (0 to 1), or None on the CPU, which has no limit. Beyond it
    torch says out of memory to us, instead of to the training.
    """
    if device.type != "cuda":
        return None
    if share is None:
        free, total = cuda.mem_get_info(device)
        share = min(1.0, (cuda.memory_reserved(device) + GROWTH_SHARE * free) / total)
    cuda.set_per_process_memory_fraction(share, device)
    log.info("the evaluator may use %.0f %% of the memory of %s", 100 * share, device)
    return share


def cache_budget(device: torch.device, reclaimable: int = 0, cuda: Cuda = TORCH_CUDA) -> int:
    """Bytes for keys and values right now. ``reclaimable`` bytes are held by an earlier plan, which would free them."""
    if device.type != "cuda":
        return CPU_CACHE_BYTES
    return reclaimable + int(CACHE_SHARE * free_bytes(device, cuda))


def is_device_failure(error: BaseException) -> bool:
    """Whether an error poisons the device's context, so that only a new process helps. Out of memory does not. Pure."""
    if isinstance(error, torch.OutOfMemoryError):
        return False
    accelerator_error = getattr(torch, "AcceleratorError", None)  # since torch 2.8
    if accelerator_error is not None and isinstance(error, accelerator_error):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and any(
        sign in text for sign in ("CUDA error", "CUBLAS_STATUS", "CUDNN_STATUS", "device-side assert")
    )


def _move(model: torch.nn.Module, device: torch.device) -> None:
    model.to(device)


class Parking:
    """A model that can wait in host memory and come back, bit for bit."""

    def __init__(
        self,
        model: torch.nn.Module,
        device: torch.device,
        move: Callable[[torch.nn.Module, torch.device], None] = _move,
        cuda: Cuda = TORCH_CUDA,
    ) -> None:
        """``device`` is where the model is now and comes back to."""
        self._model = model
        self._device = device
        self._move = move
        self._cuda = cuda
        self.is_parked = False

    def park(self) -> None:
        """Leave the device; without effect on the CPU, and when parked already."""
        if self.is_parked or self._device.type == "cpu":
            return
        self._move(self._model, torch.device("cpu"))
        self.is_parked = True
        gc.collect()
        self._cuda.empty_cache()
        log.info("nothing to do: the base model waits in host memory")

    def unpark(self) -> None:
        """Come back to the device; without effect when there. Raises torch.OutOfMemoryError, and stays parked then."""
        if not self.is_parked:
            return
        try:
            self._move(self._model, self._device)
        except BaseException:
            self._move(self._model, torch.device("cpu"))
            raise
        self.is_parked = False
