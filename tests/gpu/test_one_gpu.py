"""What only a GPU can show: exact swaps, parking, the limit, real memory shortage, and how repeatable answers are.

Skipped where there is none; ``make gpu-check`` refuses to call that a success.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from sidestep.evaluator.cases.case import Message
from sidestep.evaluator.cases.exchange import Answer, Decoding, Request
from sidestep.evaluator.engine import device_memory
from sidestep.evaluator.engine.transformers_engine import TransformersEngine, create
from sidestep.evaluator.settings import EngineSettings
from tests.fakes.adapters import ADAPTERS, save_adapter
from tests.fakes.tiny_model import build_tiny_model

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
REQUESTS = [Request(str(n), (Message("user", "x" * n),)) for n in range(1, 33)]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def engine(base: Path) -> Iterator[TransformersEngine]:
    yield create(EngineSettings(str(base), device="cuda", dtype="float32"))
    torch.cuda.set_per_process_memory_fraction(1.0)
    torch.cuda.empty_cache()


def answers(engine: TransformersEngine, requests: list[Request] = REQUESTS) -> dict[str, str]:
    found: dict[str, str] = {}

    def keep(answer: Answer) -> None:
        found[answer.case_id] = answer.text

    engine.answer(requests, Decoding(max_new_tokens=24), keep, lambda tokens: None)
    return found


@pytest.mark.parametrize("kind", sorted(ADAPTERS))
def test_a_hundred_swaps_change_no_bit_of_the_base(
    engine: TransformersEngine, base: Path, tmp_path: Path, kind: str
) -> None:
    folder = save_adapter(base, tmp_path / kind, kind)
    before = {name: tensor.clone() for name, tensor in engine.model.state_dict().items()}
    for _ in range(100):
        engine.attach(folder)
        engine.detach()
    assert all(torch.equal(before[name], tensor) for name, tensor in engine.model.state_dict().items())


def test_parking_frees_the_device_and_every_bit_returns(engine: TransformersEngine) -> None:
    before = {name: tensor.clone().cpu() for name, tensor in engine.model.state_dict().items()}
    expected, held = answers(engine), torch.cuda.memory_allocated()
    engine.park()
    assert torch.cuda.memory_allocated() < held / 10
    assert answers(engine) == expected
    assert all(torch.equal(before[name], tensor.cpu()) for name, tensor in engine.model.state_dict().items())


def test_beyond_the_limit_it_is_we_who_run_out_of_memory(engine: TransformersEngine) -> None:
    share = device_memory.limit_memory(torch.device("cuda", 0), 0.05)
    total = torch.cuda.mem_get_info()[1]
    with pytest.raises(torch.OutOfMemoryError):
        torch.empty(int(total * (share or 0.0) * 2), dtype=torch.uint8, device="cuda")
    assert len(answers(engine)) == len(REQUESTS)


def test_a_real_shortage_is_survived_with_fewer_slots(engine: TransformersEngine) -> None:
    expected = answers(engine, REQUESTS[:4])
    calls = 0

    def hook(tokens: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            torch.empty(2 * torch.cuda.mem_get_info()[1], dtype=torch.uint8, device="cuda")

    found: list[Answer] = []
    engine.answer(REQUESTS[:4], Decoding(max_new_tokens=24), found.append, hook)
    assert {answer.case_id: answer.text for answer in found} == expected


def test_how_many_answers_depend_on_the_batch(engine: TransformersEngine) -> None:
    together = answers(engine)
    alone = {key: text for request in REQUESTS for key, text in answers(engine, [request]).items()}
    differing = sorted(case for case in together if together[case] != alone[case])
    device, notes = torch.cuda.get_device_name(), engine.info.notes
    assert not differing, f"{len(differing)} of {len(together)} on {device} in float32; {notes}"
