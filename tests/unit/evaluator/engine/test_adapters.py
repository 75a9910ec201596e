"""Attaching and detaching: exact, and nothing believed of what other people wrote."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from sidestep.evaluator.engine.adapter_files import ADAPTER_WEIGHTS
from sidestep.evaluator.engine.adapters import ResidentModel
from sidestep.shared.errors import BaseModelMismatch, CheckpointRejected, CheckpointVanished, SidestepError
from tests.fakes.adapters import ADAPTERS

TOKENS = torch.tensor([[5, 40, 77, 130, 9, 31]])


@pytest.fixture
def resident(base_model: Path) -> ResidentModel:
    return ResidentModel(AutoModelForCausalLM.from_pretrained(base_model, dtype=torch.float32).eval())


def _weights(resident: ResidentModel) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in resident.model.named_parameters()}


def _assert_same(resident: ResidentModel, before: dict[str, torch.Tensor]) -> None:
    now = dict(resident.model.named_parameters())
    assert now.keys() == before.keys()
    assert all(torch.equal(now[name], before[name]) for name in before)


@torch.no_grad()
def _logits(model: torch.nn.Module) -> torch.Tensor:
    logits: torch.Tensor = model(TOKENS).logits
    return logits


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_after_many_swaps_every_bit_of_the_base_is_as_before(
    base_model: Path, adapters: dict[str, Path], dtype: torch.dtype
) -> None:
    resident = ResidentModel(AutoModelForCausalLM.from_pretrained(base_model, dtype=dtype).eval())
    before = _weights(resident)
    for _ in range(5):
        for folder in adapters.values():
            resident.attach(folder)
            resident.detach()
    _assert_same(resident, before)


@pytest.mark.parametrize("kind", ADAPTERS)
def test_merged_logits_agree_with_unmerged_ones(
    base_model: Path, resident: ResidentModel, adapters: dict[str, Path], kind: str
) -> None:
    plain = _logits(resident.model)
    model = AutoModelForCausalLM.from_pretrained(base_model, dtype=torch.float32)
    unmerged = _logits(PeftModel.from_pretrained(model, adapters[kind]).eval())
    resident.attach(adapters[kind])
    merged = _logits(resident.model)
    assert (merged - unmerged).abs().max() < 1e-4
    assert (merged - plain).abs().max() > 1e-2  # the adapter does something


def test_full_weights_take_the_place_of_the_base_and_leave_no_trace(
    base_model: Path, resident: ResidentModel, tmp_path: Path
) -> None:
    before = _weights(resident)
    model = AutoModelForCausalLM.from_pretrained(base_model, dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.1)
    model.save_pretrained(tmp_path / "full")
    resident.attach(tmp_path / "full")
    assert torch.equal(_logits(resident.model), _logits(model.eval()))
    resident.detach()
    _assert_same(resident, before)


def _config(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "adapter_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return change


def _tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        state = load_file(folder / ADAPTER_WEIGHTS)
        change(state)
        save_file(state, folder / ADAPTER_WEIGHTS)

    return apply


def _first(state: dict[str, torch.Tensor]) -> str:
    return sorted(state)[0]


def _only_pickle(folder: Path) -> None:
    (folder / ADAPTER_WEIGHTS).rename(folder / "adapter_model.bin")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (_config(auto_mapping={"base_model_class": "X"}), "names code"),
        (_config(modules_to_save=["lm_head"]), "replaces whole modules"),
        (_config(bias="all"), "biases"),
        (_config(init_lora_weights="pissa"), "init_lora_weights = 'pissa' changes the base model's weights"),
        (_config(init_lora_weights="pissa_niter_16"), "init_lora_weights"),
        (_config(init_lora_weights="olora"), "init_lora_weights"),
        (_config(init_lora_weights="loftq"), "init_lora_weights"),
        (_config(init_lora_weights="corda"), "init_lora_weights"),
        (_config(init_lora_weights={"x": 1}), "init_lora_weights"),
        (_config(peft_type="EVIL"), "adapter type"),
        (_config(target_modules="all-linear"), "not a list"),
        (_config(target_modules=["embed_tokens"]), "not a linear layer"),
        (lambda folder: (folder / "adapter_config.json").write_text("{"), "not valid JSON"),
        (lambda folder: (folder / "adapter_config.json").write_text("[]"), "not a JSON object"),
        (_tensors(lambda state: state[_first(state)].fill_(float("nan"))), "NaN"),
        (lambda folder: (folder / ADAPTER_WEIGHTS).write_bytes(b"x" * 40), "safetensors|truncated|too large"),
    ],
)
def test_hostile_or_damaged_adapters_are_rejected_and_the_base_is_untouched(
    resident: ResidentModel, adapters: dict[str, Path], tmp_path: Path, damage: Callable[[Path], object], reason: str
) -> None:
    _assert_refused(resident, adapters, tmp_path, damage, CheckpointRejected, reason)


@pytest.mark.parametrize("method", [True, False, "gaussian", "orthogonal", "eva"])
def test_starts_that_leave_the_base_model_as_it_is_are_evaluated(
    resident: ResidentModel, adapters: dict[str, Path], tmp_path: Path, method: object
) -> None:
    folder = Path(shutil.copytree(adapters["lora"], tmp_path / "adapter"))
    _config(init_lora_weights=method)(folder)
    resident.attach(folder)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (_config(target_modules=["q_proj", "nowhere"]), "no module nowhere"),
        (_tensors(lambda state: state.pop(_first(state))), "is missing"),
        (_tensors(lambda state: state.update({"base_model.model.x": torch.zeros(1)})), "does not belong"),
        (_tensors(lambda state: state.update({_first(state): torch.zeros(3, 3)})), "does not fit"),
    ],
)
def test_an_adapter_of_another_base_model_is_a_mismatch_and_the_base_is_untouched(
    resident: ResidentModel, adapters: dict[str, Path], tmp_path: Path, damage: Callable[[Path], object], reason: str
) -> None:
    """It may be whole, and the base model the wrong one."""
    _assert_refused(resident, adapters, tmp_path, damage, BaseModelMismatch, reason)


def _assert_refused(
    resident: ResidentModel,
    adapters: dict[str, Path],
    tmp_path: Path,
    damage: Callable[[Path], object],
    error: type[SidestepError],
    reason: str,
) -> None:
    before, modules = _weights(resident), [type(module) for module in resident.model.modules()]
    folder = Path(shutil.copytree(adapters["lora"], tmp_path / "adapter"))
    damage(folder)
    with pytest.raises(error, match=reason):
        resident.attach(folder)
    _assert_same(resident, before)
    assert [type(module) for module in resident.model.modules()] == modules
    resident.attach(adapters["dora"])


@pytest.mark.parametrize("damage", [_only_pickle, lambda folder: shutil.rmtree(folder)])
def test_missing_weights(
    resident: ResidentModel, adapters: dict[str, Path], tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    folder = Path(shutil.copytree(adapters["lora"], tmp_path / "adapter"))
    damage(folder)
    with pytest.raises((CheckpointVanished, CheckpointRejected)):
        resident.attach(folder)


def test_the_base_named_by_an_adapter_is_ignored(
    resident: ResidentModel, adapters: dict[str, Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(adapters["lora"], tmp_path / "adapter"))
    _config(base_model_name_or_path="/nowhere/else", revision="main")(folder)
    resident.attach(adapters["lora"])
    wanted = _logits(resident.model)
    resident.attach(folder)
    assert torch.equal(_logits(resident.model), wanted)
