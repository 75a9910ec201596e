"""Memory of a GPU on which training has precedence: a cap for this process, a look before each suite, and parking.

Everything asks through ``Cuda``, so that tests can stand in for a device. The driver's own figure (NVML) is preferred
where its package is installed, because it counts every process; torch's is the same number from the context's view.
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
    """What is asked of a GPU."""

    def mem_get_info(self, device: torch.device) -> tuple[int, int]: ...
    def memory_reserved(self, device: torch.device) -> int: ...
    def set_per_process_memory_fraction(self, fraction: float, device: torch.device) -> None: ...
    def empty_cache(self) -> None: ...


REAL = cast(Cuda, torch.cuda)


def free_bytes(device: torch.device, cuda: Cuda = REAL, nvml: Callable[[int], int] | None = None) -> int:
    """Free memory of the device, whoever uses the rest."""
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


def cap(device: torch.device, share: float | None, cuda: Cuda = REAL) -> float | None:
    """Limit this process to a share of the device's memory; by default to what it holds and half of what is free.

    Called once the base model is loaded. Returns the share, or None on the CPU. Beyond it torch says out of memory
    to us, instead of to the training.
    """
    if device.type != "cuda":
        return None
    if share is None:
        free, total = cuda.mem_get_info(device)
        share = min(1.0, (cuda.memory_reserved(device) + GROWTH_SHARE * free) / total)
    cuda.set_per_process_memory_fraction(share, device)
    log.info("the evaluator may use %.0f %% of the memory of %s", 100 * share, device)
    return share


def cache_budget(device: torch.device, held: int = 0, cuda: Cuda = REAL) -> int:
    """Bytes for keys and values right now. ``held`` is what an earlier plan holds already and would give back."""
    if device.type != "cuda":
        return CPU_CACHE_BYTES
    return held + int(CACHE_SHARE * free_bytes(device, cuda))


def is_device_failure(error: BaseException) -> bool:
    """Whether an error poisons the device's context, so that only a new process helps. Out of memory does not. Pure."""
    if isinstance(error, torch.OutOfMemoryError):
        return False
    accelerator = getattr(torch, "AcceleratorError", None)
    if accelerator is not None and isinstance(error, accelerator):
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
        cuda: Cuda = REAL,
    ) -> None:
        self._model = model
        self._device = device
        self._move = move
        self._cuda = cuda
        self.parked = False

    def park(self) -> None:
        """Leave the device; without effect on the CPU, and when parked already."""
        if self.parked or self._device.type == "cpu":
            return
        self._move(self._model, torch.device("cpu"))
        self.parked = True
        gc.collect()
        self._cuda.empty_cache()
        log.info("nothing to do: the base model waits in host memory")

    def unpark(self) -> None:
        """Be on the device again; without effect when there. Raises torch.OutOfMemoryError, still parked then."""
        if not self.parked:
            return
        try:
            self._move(self._model, self._device)
        except BaseException:
            self._move(self._model, torch.device("cpu"))
            raise
        self.parked = False
