from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import IA3Config, LoKrConfig, LoraConfig, PeftConfig, get_peft_model
from transformers import AutoModelForCausalLM

from sidestep.evaluator.engine.transformers_engine import TransformersEngine, create
from sidestep.evaluator.settings import EngineSettings
from tests.fakes.tiny_model import build_tiny_model

ADAPTERS: dict[str, Callable[[], PeftConfig]] = {
    "lora": lambda: LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM"),
    "dora": lambda: LoraConfig(
        r=4, lora_alpha=8, target_modules=["v_proj", "up_proj"], use_dora=True, task_type="CAUSAL_LM"
    ),
    "ia3": lambda: IA3Config(
        target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"], task_type="CAUSAL_LM"
    ),
    "lokr": lambda: LoKrConfig(r=4, alpha=8, target_modules=["q_proj", "o_proj"], task_type="CAUSAL_LM"),
}


@pytest.fixture(scope="session")
def base_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return build_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


def save_adapter(base_model: Path, folder: Path, kind: str, *, seed: int = 1) -> Path:
    """An adapter with weights that matter, as PEFT saves it."""
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base_model, dtype=torch.float32), ADAPTERS[kind]())
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * (0.3 if "magnitude" not in name else 0.05))
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def adapters(base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("adapters")
    return {kind: save_adapter(base_model, root / kind, kind) for kind in ADAPTERS}


@pytest.fixture(scope="session", params=["float32", "bfloat16"])
def engine(request: pytest.FixtureRequest, base_model: Path) -> TransformersEngine:
    return create(EngineSettings(str(base_model), device="cpu", dtype=request.param))


@pytest.fixture(scope="session")
def engine32(base_model: Path) -> TransformersEngine:
    return create(EngineSettings(str(base_model), device="cpu", dtype="float32"))
