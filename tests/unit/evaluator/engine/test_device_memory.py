"""A GPU's memory, with a device that exists only here: cap, budget, parking, and which errors end a process."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

from sidestep.evaluator.cases.case import Message
from sidestep.evaluator.cases.exchange import Answer, Decoding, Request
from sidestep.evaluator.engine import device_memory
from sidestep.evaluator.engine.transformers_engine import TransformersEngine, create
from sidestep.evaluator.settings import EngineSettings
from sidestep.shared.errors import CheckpointRejected, DeviceOutOfMemory

GPU = torch.device("cuda", 0)
CPU = torch.device("cpu")
GIB = 1 << 30
REQUESTS = [Request(str(n), (Message("user", "x" * n),)) for n in range(1, 9)]


@dataclass
class FakeCuda:
    free: int = 40 * GIB
    total: int = 80 * GIB
    reserved: int = 4 * GIB
    fractions: list[float] = field(default_factory=list)
    emptied: int = 0

    def mem_get_info(self, device: torch.device) -> tuple[int, int]:
        return self.free, self.total

    def memory_reserved(self, device: torch.device) -> int:
        return self.reserved

    def set_per_process_memory_fraction(self, fraction: float, device: torch.device) -> None:
        self.fractions.append(fraction)

    def empty_cache(self) -> None:
        self.emptied += 1


@pytest.mark.parametrize(
    ("cuda", "asked", "share"),
    [
        (FakeCuda(), None, (4 + 20) / 80),  # what is loaded, and half of what is free
        (FakeCuda(free=0), None, 4 / 80),
        (FakeCuda(free=80 * GIB, reserved=80 * GIB), None, 1.0),
        (FakeCuda(), 0.3, 0.3),
    ],
)
def test_the_cap_leaves_the_rest_to_training(cuda: FakeCuda, asked: float | None, share: float) -> None:
    assert device_memory.limit_memory(GPU, asked, cuda) == pytest.approx(share)
    assert cuda.fractions == [pytest.approx(share)]


def test_a_cpu_has_no_cap() -> None:
    cuda = FakeCuda()
    assert device_memory.limit_memory(CPU, 0.3, cuda) is None and cuda.fractions == []


def test_the_budget_is_looked_up_anew_and_counts_what_would_be_given_back() -> None:
    cuda = FakeCuda()
    assert device_memory.cache_budget(GPU, 0, cuda) == 10 * GIB
    cuda.free = 8 * GIB  # training has grown
    assert device_memory.cache_budget(GPU, 3 * GIB, cuda) == 5 * GIB
    assert device_memory.cache_budget(CPU, 0, cuda) == device_memory.CPU_CACHE_BYTES


def test_the_drivers_figure_is_preferred_where_there_is_one() -> None:
    def missing(index: int) -> int:
        raise ImportError("pynvml")

    assert device_memory.free_bytes(GPU, FakeCuda(), nvml=lambda index: 7) == 7
    assert device_memory.free_bytes(GPU, FakeCuda(free=5), nvml=missing) == 5


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), False),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), True),
        (RuntimeError("CUBLAS_STATUS_EXECUTION_FAILED when calling cublasGemmEx"), True),
        (RuntimeError("The size of tensor a (3) must match"), False),
        (ValueError("CUDA error"), False),
    ],
)
def test_which_errors_end_the_process(error: Exception, expected: bool) -> None:
    assert device_memory.is_device_failure(error) is expected


def test_a_device_failure_while_attaching_is_not_the_checkpoints_fault(
    engine32: TransformersEngine, adapters: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object, **kwargs: object) -> None:
        raise RuntimeError("CUDA error: device-side assert triggered")

    monkeypatch.setattr("sidestep.evaluator.engine.adapters.set_peft_model_state_dict", broken)
    monkeypatch.setattr("sidestep.evaluator.engine.plain_lora.merge_weights", broken)
    for kind in ("lora", "dora"):
        with pytest.raises(RuntimeError, match="device-side assert"):
            engine32.attach(adapters[kind])
    monkeypatch.undo()
    engine32.attach(adapters["lora"])
    engine32.detach()


class FakeMoves:
    """Moving is copying every tensor, as between two memories; ``refuse`` is a device that is full."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.refuse = False

    def __call__(self, model: torch.nn.Module, device: torch.device) -> None:
        if device.type == "cuda" and self.refuse:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.log.append(device.type)
        for parameter in model.parameters():
            parameter.data = parameter.data.clone()


def answers(engine: TransformersEngine) -> dict[str, str]:
    found: dict[str, str] = {}

    def keep(answer: Answer) -> None:
        found[answer.case_id] = answer.text

    engine.answer(REQUESTS, Decoding(max_new_tokens=12), keep, lambda tokens: None)
    return found


@pytest.fixture
def parked_engine(base_model: Path) -> tuple[TransformersEngine, FakeMoves, FakeCuda]:
    engine = create(EngineSettings(str(base_model), device="cpu", dtype="float32"))
    moves, cuda = FakeMoves(), FakeCuda()
    engine._parking = device_memory.Parking(engine.model, GPU, moves, cuda)
    return engine, moves, cuda


def test_parking_gives_memory_back_and_every_bit_returns(
    parked_engine: tuple[TransformersEngine, FakeMoves, FakeCuda], adapters: dict[str, Path]
) -> None:
    engine, moves, cuda = parked_engine
    before = {name: tensor.clone() for name, tensor in engine.model.state_dict().items()}
    expected = answers(engine)
    engine.attach(adapters["lora"])
    engine.park()  # detaches, too
    engine.park()
    assert moves.log == ["cpu"] and cuda.emptied == 1
    assert answers(engine) == expected
    assert moves.log == ["cpu", "cuda"]
    assert all(torch.equal(before[name], tensor) for name, tensor in engine.model.state_dict().items())


def test_coming_back_to_a_full_device_is_out_of_memory_and_can_be_repeated(
    parked_engine: tuple[TransformersEngine, FakeMoves, FakeCuda], adapters: dict[str, Path]
) -> None:
    engine, moves, _ = parked_engine
    engine.park()
    moves.refuse = True
    with pytest.raises(DeviceOutOfMemory):
        engine.attach(adapters["lora"])
    moves.refuse = False
    engine.attach(adapters["lora"])
    engine.detach()
    with pytest.raises(CheckpointRejected):
        engine.attach(adapters["lora"].parent)


def test_parking_on_the_cpu_does_nothing(engine32: TransformersEngine) -> None:
    expected = answers(engine32)
    engine32.park()
    assert not engine32._parking.is_parked and answers(engine32) == expected


def test_half_of_the_threads_beside_a_training_and_the_same_answers(base_model: Path) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        engine = create(EngineSettings(str(base_model), device="cpu", dtype="bfloat16"))
        engine.set_training_active(False)
        alone = answers(engine)
        engine.set_training_active(True)
        assert torch.get_num_threads() == 1
        assert answers(engine) == alone
        engine.set_training_active(False)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
