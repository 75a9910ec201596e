"""The trainer on a GPU: precision, quantization, flash attention, CUDA graphs, Unsloth. Run with make gpu-check."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

import sidestep.trainer.trainer as training
from sidestep.trainer.config.reading import from_host
from sidestep.trainer.objectives import build_trainer
from tests.fakes.tiny_model import build_tiny_model

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
REPOSITORY = Path(__file__).resolve().parents[2]
Train = Callable[..., Any]


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_model(tmp_path_factory.mktemp("models") / "tiny", hidden_size=256)


def _document(folder: Path, model: Path, top: dict[str, Any], training: dict[str, Any]) -> dict[str, Any]:
    rows = [{"instruction": f"question {n}", "output": f"answer {n}"} for n in range(64)]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {
        "base_model_name": str(model), "quantization": "none", "dataset_path": str(folder / "train.jsonl"),
        "output_dir": str(folder / "weights"), "device": "cuda", "dataset": {"format": "jsonl"},
        "training": {
            "adapter_type": "lora", "rank": 8, "alpha": 16, "target_modules": ["q_proj", "v_proj"], "epochs": 1.0,
            "learning_rate": 1e-2, "batch_size": 4, "gradient_accumulation_steps": 1, "lr_scheduler": "constant",
            "save_strategy": "no", "max_steps": 8, "logging_steps": 1, "max_seq_length": 128, **training,
        },
        **top,
    }  # fmt: skip


@pytest.fixture
def trained(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Train:
    """Runs a training and gives the Trainer; its loss must have gone down."""
    made: list[Any] = []

    def build_and_keep(*arguments: Any) -> Any:
        made.append(build_trainer(*arguments))
        return made[-1]

    monkeypatch.setattr(training, "build_trainer", build_and_keep)

    def run(top: dict[str, Any] | None = None, **options: Any) -> Any:
        training.train(from_host(_document(tmp_path, tiny_model, top or {}, options)))
        losses = [row["loss"] for row in made[-1].state.log_history if "loss" in row]
        assert losses[-1] < losses[0]
        return made[-1]

    return run


@pytest.mark.parametrize(
    ("options", "frozen"),
    [({"bf16": True}, torch.bfloat16), ({"fp16": True}, torch.float16), ({}, torch.float32)],
)
def test_precision_on_a_gpu(trained: Train, options: dict[str, Any], frozen: torch.dtype) -> None:
    done = trained(**options)
    assert done.model.get_base_model().model.layers[0].mlp.up_proj.weight.dtype == frozen


def test_full_fine_tuning_keeps_float32_weights(trained: Train) -> None:
    done = trained(adapter_type="full", rank=None, alpha=None, target_modules=None, bf16=True, learning_rate=1e-3)
    assert {parameter.dtype for parameter in done.model.parameters()} == {torch.float32}


def test_tf32(trained: Train) -> None:
    trained(use_tf32=True)
    assert torch.backends.cuda.matmul.fp32_precision == "tf32" or torch.backends.cuda.matmul.allow_tf32


@pytest.mark.parametrize("quantization", ["int4", "int8"])
@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_quantized(trained: Train, quantization: str, kind: str) -> None:
    done = trained({"quantization": quantization}, adapter_type=kind, bf16=True, optim="adamw_bnb_8bit")
    weight = done.model.get_base_model().get_submodule("model.layers.0.mlp.up_proj").weight
    assert weight.dtype == (torch.uint8 if quantization == "int4" else torch.int8)
    assert type(done.optimizer.optimizer).__module__.startswith("bitsandbytes")


@pytest.mark.skipif(importlib.util.find_spec("flash_attn") is None, reason="flash-attn is not installed")
def test_flash_attention_with_packing(trained: Train) -> None:
    done = trained(flash_attention_2=True, bf16=True, packing=True)
    assert done.model.config._attn_implementation == "flash_attention_2"


def test_cuda_graphs_are_replayed(trained: Train) -> None:
    before = torch._dynamo.utils.counters["inductor"]["cudagraph_skips"]
    trained(use_cuda_graphs=True, cuda_graph_warmup_steps=2, bf16=True)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
    assert torch._dynamo.utils.counters["inductor"]["cudagraph_skips"] == before


@pytest.mark.skipif(importlib.util.find_spec("unsloth") is None, reason="unsloth is not installed: sidestep[unsloth]")
@pytest.mark.parametrize("unsloth", [False, True], ids=["standard", "unsloth"])
def test_int4_dora_on_a_random_model_of_0_6b(tmp_path: Path, tiny_model: Path, unsloth: bool) -> None:
    """The shape of Qwen3-0.6B with random weights; prints the seconds a step takes, for the record."""
    model = tmp_path / "random-06b"
    build_tiny_model(model)  # its tokenizer
    shape = Qwen3Config(
        vocab_size=151936, hidden_size=1024, intermediate_size=3072, num_hidden_layers=28, num_attention_heads=16,
        num_key_value_heads=8, head_dim=128, tie_word_embeddings=True,
    )  # fmt: skip
    Qwen3ForCausalLM(shape).to(torch.bfloat16).save_pretrained(model)
    options = {"adapter_type": "dora", "use_unsloth": unsloth, "bf16": True, "optim": "adamw_bnb_8bit", "max_steps": 20}
    document = _document(tmp_path, model, {"quantization": "int4"}, options)
    (tmp_path / "config.json").write_text(json.dumps(document))
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / "expert_trainer.py"), str(tmp_path / "config.json")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    print("unsloth" if unsloth else "standard", [line for line in done.stderr.splitlines() if "s a step" in line][-3:])
