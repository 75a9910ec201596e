"""What gives way on which device, and that it is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sidestep.shared.cpu_dtype import cpu_dtype
from sidestep.shared.errors import ConfigError, UnsupportedOnDevice
from sidestep.trainer.config.reading import from_host
from sidestep.trainer.device_plan import DeviceFacts, find_device, plan_device

SLOW_CPU = DeviceFacts("cpu", fast_bf16=False)
FAST_CPU = DeviceFacts("cpu", fast_bf16=True)
WHOLE_CPU = DeviceFacts("cpu", fast_bf16=True, has_bitsandbytes=True, has_compiler=True, has_unsloth=True)
GPU = DeviceFacts("cuda", fast_bf16=True, has_bitsandbytes=True, has_flash_attention=True, has_compiler=True)
UNSLOTH_GPU = DeviceFacts("cuda", fast_bf16=True, has_unsloth=True)
OLD_GPU = DeviceFacts("cuda", fast_bf16=False)

FULL = {"adapter_type": "full", "rank": None, "alpha": None, "target_modules": None}


@pytest.mark.parametrize(
    ("training", "facts", "plan", "replaced"),
    [
        ({}, FAST_CPU, {"dtype": "float32", "autocast": None, "attention": "sdpa"}, []),
        ({"bf16": True}, FAST_CPU, {"dtype": "bfloat16", "autocast": None}, []),
        ({"bf16": True}, SLOW_CPU, {"dtype": "float32"}, ["bf16 is replaced by float32"]),
        ({"fp16": True}, FAST_CPU, {"dtype": "bfloat16"}, ["fp16 is replaced by bfloat16"]),
        ({"bf16": True}, GPU, {"dtype": "bfloat16", "autocast": "bf16"}, []),
        ({"bf16": True}, OLD_GPU, {"dtype": "float16", "autocast": "fp16"}, ["bf16 is replaced by fp16"]),
        (
            {"optim": "adamw_bnb_8bit"},
            FAST_CPU,
            {"optim": "adamw_torch"},
            ["optim adamw_bnb_8bit is replaced by adamw"],
        ),
        ({"optim": "adamw_bnb_8bit"}, GPU, {"optim": "adamw_bnb_8bit"}, []),
        ({"optim": "adamw_bnb_8bit"}, WHOLE_CPU, {"optim": "adamw_bnb_8bit"}, []),
        (
            {"optim": "paged_adamw_8bit"},
            WHOLE_CPU,
            {"optim": "adamw_8bit"},
            ["optim paged_adamw_8bit is replaced by adamw_8bit"],
        ),
        ({"optim": "paged_adamw_8bit"}, GPU, {"optim": "paged_adamw_8bit"}, []),
        ({"flash_attention_2": True}, FAST_CPU, {"attention": "sdpa"}, ["flash_attention_2 is replaced by sdpa"]),
        ({"flash_attention_2": True, "bf16": True}, GPU, {"attention": "flash_attention_2"}, []),
        ({"flash_attention_2": True}, GPU, {"attention": "sdpa"}, ["flash_attention_2 is replaced by sdpa: it"]),
        ({"use_sdpa": False}, FAST_CPU, {"attention": "eager"}, []),
        ({"use_sdpa": False, "memory_efficient_attention": True}, FAST_CPU, {"attention": "sdpa"}, []),
        ({"use_tf32": True}, FAST_CPU, {"tf32": False}, ["use_tf32 is replaced by"]),
        ({"use_tf32": True}, GPU, {"tf32": True}, []),
        ({"packing": True}, FAST_CPU, {"packing": True}, []),
        ({"packing": True, "method": "dpo"}, GPU, {"packing": False}, ["packing is replaced by one row"]),
        ({"torch_compile": True}, FAST_CPU, {"compile": False}, ["torch_compile is replaced by eager"]),
        ({"torch_compile": True, "torch_compile_mode": "default"}, WHOLE_CPU,
         {"compile": True, "compile_mode": "default"}, []),
        ({"torch_compile": True, "torch_compile_backend": "eager"}, FAST_CPU, {"compile": True}, []),
        ({"use_cuda_graphs": True}, WHOLE_CPU, {"compile": False, "cuda_graphs": False},
         ["use_cuda_graphs is replaced by eager execution: it needs a GPU"]),
        ({"use_cuda_graphs": True, "torch_compile": True}, WHOLE_CPU, {"compile": True, "cuda_graphs": False},
         ["use_cuda_graphs is replaced by torch_compile without graphs"]),
        ({"use_cuda_graphs": True}, GPU,
         {"compile": True, "compile_mode": "reduce-overhead", "cuda_graphs": True}, []),
        ({"use_cuda_graphs": True}, DeviceFacts("cuda", fast_bf16=True, has_compiler=True, compile_disabled=True),
         {"compile": False, "cuda_graphs": False}, ["use_cuda_graphs is replaced by eager execution: the environment"]),
        ({"use_unsloth": True}, WHOLE_CPU, {"unsloth": False},
         ["use_unsloth is replaced by transformers and PEFT: it needs a GPU"]),
        ({"use_unsloth": True}, GPU, {"unsloth": False},
         ["use_unsloth is replaced by transformers and PEFT: it is not installed"]),
        ({"use_unsloth": True}, UNSLOTH_GPU, {"unsloth": True}, []),
        ({}, UNSLOTH_GPU, {"unsloth": False}, []),
        ({"dataloader_pin_memory": True}, FAST_CPU, {"pin_memory": False}, []),
        ({"dataloader_pin_memory": True}, GPU, {"pin_memory": True}, []),
        ({"dataloader_prefetch_factor": 2}, FAST_CPU, {},
         ["dataloader_prefetch_factor is replaced by loading in the training process"]),
        ({**FULL, "bf16": True}, FAST_CPU, {"dtype": "float32", "autocast": "bf16"}, []),
        ({**FULL, "fp16": True}, GPU, {"dtype": "float32", "autocast": "fp16"}, []),
    ],
)  # fmt: skip
def test_plan(
    host_config: Callable[..., dict[str, Any]],
    training: dict[str, Any],
    facts: DeviceFacts,
    plan: dict[str, Any],
    replaced: list[str],
) -> None:
    made = plan_device(from_host(host_config(**training)), facts)
    assert {name: getattr(made, name) for name in plan} == plan
    assert len(made.replaced) == len(replaced)
    assert all(line.startswith(start) for line, start in zip(made.replaced, replaced, strict=True))


def test_quantization_is_never_dropped_in_silence(host_config: Callable[..., dict[str, Any]]) -> None:
    document = {**host_config(), "quantization": "int4"}
    with pytest.raises(UnsupportedOnDevice, match="--allow-unquantized"):
        plan_device(from_host(document), FAST_CPU)
    assert plan_device(from_host(document), GPU).quantization == "int4"
    assert plan_device(from_host(document), WHOLE_CPU).quantization == "int4"
    dora = {**host_config(adapter_type="dora"), "quantization": "int8"}
    with pytest.raises(UnsupportedOnDevice, match="set quantization to int4"):
        plan_device(from_host(dora), WHOLE_CPU)
    assert plan_device(from_host(dora), GPU).quantization == "int8"
    document["training"]["allow_unquantized"] = True
    plan = plan_device(from_host(document), FAST_CPU)
    assert plan.quantization == "none"
    assert plan.replaced == ("quantization int4 is replaced by float32 weights (--allow-unquantized)",)


@pytest.mark.parametrize(
    ("requested", "there", "found"),
    [("auto", True, "cuda"), ("auto", False, "cpu"), ("cpu", True, "cpu"), ("cuda:1", True, "cuda:1")],
)
def test_devices(monkeypatch: pytest.MonkeyPatch, requested: str, there: bool, found: str) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: there)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda: there)
    assert find_device(requested).device == found


def test_unknown_and_missing_devices_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ConfigError, match="unknown device"):
        find_device("tpu")
    with pytest.raises(ConfigError, match="no CUDA device"):
        find_device("cuda")


@pytest.mark.parametrize(
    ("content", "dtype"),
    [
        ("flags : fpu avx2", "float32"),
        ("flags : fpu avx2 avx512f avx512_bf16", "bfloat16"),
        ("flags\t\t: amx_bf16", "bfloat16"),
        ("Features : fp asimd bf16", "bfloat16"),
        ("model name : bf16", "float32"),
    ],
)
def test_cpu_dtype_by_capability(tmp_path: Path, content: str, dtype: str) -> None:
    (tmp_path / "cpuinfo").write_text(content)
    assert cpu_dtype(tmp_path / "cpuinfo") == dtype
    assert cpu_dtype(tmp_path / "none") == "float32"
