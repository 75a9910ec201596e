"""Unsloth: imported first and only when asked for, and what it is told. A stand-in takes its place; it needs a GPU."""

from __future__ import annotations

import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from sidestep.trainer.adapter_setup import adapter_config
from sidestep.trainer.config.reading import from_host
from sidestep.trainer.device_plan import DeviceFacts, plan_device
from sidestep.trainer.unsloth_path import add_unsloth_adapter, load_with_unsloth

HostConfig = Callable[..., dict[str, Any]]
REPOSITORY = Path(__file__).resolve().parents[3]
STAND_IN = "import sys; print('transformers' in sys.modules)"
# A machine with a GPU and Unsloth, as far as the order of imports is concerned.
PROGRAM = """
import json, sys
sys.path.insert(0, {folder!r})
import torch
torch.cuda.is_available = lambda: True
from sidestep.trainer.config.reading import from_host
from sidestep.trainer.unsloth_path import import_unsloth_first
print(import_unsloth_first(from_host(json.loads(sys.argv[1]))))
"""


@pytest.mark.parametrize(
    ("training", "said"),
    [
        ({"use_unsloth": True}, ["False", "True"]),  # imported, and transformers not before it
        ({"use_unsloth": False}, ["False"]),
        ({}, ["False"]),
    ],
)
def test_it_is_imported_before_transformers_and_only_when_asked_for(
    host_config: HostConfig, tmp_path: Path, training: dict[str, Any], said: list[str]
) -> None:
    import json

    (tmp_path / "unsloth.py").write_text(STAND_IN)
    document = {**host_config(**training), "device": "cuda"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(folder=str(tmp_path)), json.dumps(document)],
        cwd=REPOSITORY, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == said


@pytest.fixture
def unsloth(monkeypatch: pytest.MonkeyPatch, tiny_model: Path) -> dict[str, dict[str, Any]]:
    """A stand-in for FastLanguageModel that notes what it is told."""
    told: dict[str, dict[str, Any]] = {}

    class FastLanguageModel:
        @staticmethod
        def from_pretrained(**options: Any) -> tuple[Any, Any]:
            told["model"] = options
            return AutoModelForCausalLM.from_pretrained(tiny_model), AutoTokenizer.from_pretrained(tiny_model)

        @staticmethod
        def get_peft_model(model: Any, **options: Any) -> Any:
            told["adapter"] = options
            return model

    module = types.ModuleType("unsloth")
    module.FastLanguageModel = FastLanguageModel  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "unsloth", module)
    return told


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_model_and_adapter_come_from_unsloth(
    host_config: HostConfig, unsloth: dict[str, dict[str, Any]], tiny_model: Path, kind: str
) -> None:
    document = host_config(adapter_type=kind, use_unsloth=True, bf16=True, dropout=0.1, gradient_checkpointing=True)
    config = from_host({**document, "quantization": "int4"})
    gpu = DeviceFacts("cuda", fast_bf16=True, has_unsloth=True, has_bitsandbytes=True)
    model, _ = load_with_unsloth(config, plan_device(config, gpu))
    assert unsloth["model"] == {
        "model_name": str(tiny_model), "max_seq_length": 128, "dtype": torch.bfloat16, "load_in_4bit": True,
        "load_in_8bit": False, "full_finetuning": False, "trust_remote_code": False, "use_exact_model_name": True,
        "random_state": 42,
    }  # fmt: skip
    _, left = add_unsloth_adapter(config, model, adapter_config(config, model))
    assert left is None  # TRL has none to put on
    assert unsloth["adapter"] == {
        "r": 4, "target_modules": ["q_proj", "v_proj"], "lora_alpha": 8.0, "lora_dropout": 0.1,
        "use_gradient_checkpointing": True, "random_state": 42, "use_dora": kind == "dora",
    }  # fmt: skip


def test_other_adapters_are_put_on_by_peft(host_config: HostConfig, unsloth: dict[str, dict[str, Any]]) -> None:
    config = from_host(host_config(adapter_type="lokr", use_unsloth=True))
    gpu = DeviceFacts("cuda", fast_bf16=True, has_unsloth=True, has_bitsandbytes=True)
    model, _ = load_with_unsloth(config, plan_device(config, gpu))
    adapter = adapter_config(config, model)
    assert add_unsloth_adapter(config, model, adapter) == (model, adapter)
    assert "adapter" not in unsloth


def test_without_a_gpu_it_is_said_once_and_the_standard_path_is_taken(
    host_config: HostConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    import logging

    from sidestep.trainer.trainer import train

    said: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    monkeypatch.setattr(logging.getLogger("sidestep"), "handlers", [Keep()])
    train(from_host(host_config(use_unsloth=True, max_steps=1, save_strategy="no")))
    lines = [line for line in said if "unsloth" in line]
    assert lines == ["use_unsloth is replaced by transformers and PEFT: it needs a GPU"]
    assert "unsloth" not in sys.modules
