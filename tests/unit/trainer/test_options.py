"""What each option of a training does, seen on a real Trainer: not that it is read, but what it changes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, TrainerControl, TrainerState, TrainingArguments

import sidestep.trainer.model_loader as model_loader
import sidestep.trainer.trainer as training
from sidestep.shared.errors import ConfigError
from sidestep.shared.protocol.layout import ModelFolder
from sidestep.trainer.arguments import checkpointing, training_arguments
from sidestep.trainer.callbacks import DelayCompilation
from sidestep.trainer.config.reading import from_host
from sidestep.trainer.device_plan import DeviceFacts, plan_device
from tests.unit.trainer.conftest import history, weights_of, write_rows

Train = Callable[..., Any]
HostConfig = Callable[..., dict[str, Any]]


# Length of training and rate


def test_epochs_batch_size_and_accumulation_make_the_number_of_steps(trained: Train) -> None:
    _, done = trained(max_steps=None, epochs=1.5, batch_size=2, gradient_accumulation_steps=3)
    assert done.state.global_step == 6  # 24 rows are 12 batches are 4 steps an epoch
    assert done.train_dataset.num_rows == 24


def test_max_steps_overrides_epochs(trained: Train) -> None:
    _, done = trained(max_steps=3, epochs=100)
    assert done.state.global_step == 3


def test_schedule_with_arguments_warmup_and_logging_steps(trained: Train) -> None:
    _, done = trained(
        max_steps=8, logging_steps=2, learning_rate=0.01, warmup_steps=2, lr_scheduler="cosine_with_min_lr",
        lr_scheduler_kwargs_json='{"min_lr": 0.004}',
    )  # fmt: skip
    rates = history(done, "learning_rate")
    assert len(rates) == 4  # a line every second step
    expected = [0.004 + 0.003 * (1 + math.cos(math.pi * (step - 2) / 6)) for step in (3, 5, 7)]
    assert rates == pytest.approx([0.005, *expected])  # the rate a step was taken with


def test_warmup_ratio_counts_where_there_are_no_warmup_steps(trained: Train) -> None:
    _, done = trained(max_steps=4, learning_rate=0.01, warmup_ratio=0.5, lr_scheduler="constant_with_warmup")
    assert history(done, "learning_rate") == pytest.approx([0.0, 0.005, 0.01, 0.01])


@pytest.mark.parametrize(
    ("optim", "name"),
    [("adamw_torch", "AdamW"), ("sgd", "SGD"), ("adafactor", "Adafactor"), ("adamw_bnb_8bit", "AdamW")],
)
def test_optimizer(trained: Train, optim: str, name: str) -> None:
    _, done = trained(optim=optim, rank=64)  # bitsandbytes leaves small tensors in 32 bits
    optimizer = done.optimizer.optimizer
    assert type(optimizer).__name__ == name
    if optim == "adamw_bnb_8bit":
        assert type(optimizer).__module__.startswith("bitsandbytes")
        assert torch.uint8 in {state["state1"].dtype for state in optimizer.state.values()}


def test_seed_decides_order_and_initialisation(trained: Train) -> None:
    first = weights_of(trained(seed=1, learning_rate=0.01)[1])
    assert torch.equal(first, weights_of(trained(seed=1, learning_rate=0.01)[1]))
    assert not torch.equal(first, weights_of(trained(seed=2, learning_rate=0.01)[1]))


@pytest.mark.parametrize(
    ("training", "reason"),
    [
        ({"optim": "adamw_best"}, "adamw_best"),
        ({"lr_scheduler": "zigzag"}, "zigzag"),
        ({"lr_scheduler_kwargs": {"zig": 1}}, "zig"),
        ({"load_best_model_at_end": True}, "needs a validation at every save"),
        ({"dropout": 1.5}, "dropout = 1.5"),
        ({"warmup_steps": -1}, "must not be negative"),
        ({"gradient_checkpointing": "selective", "gradient_checkpointing_kwargs": {"use_reentrant": True}},
         "not possible with use_reentrant"),
        ({"group_by_length": True, "streaming": True}, "cannot be sorted by length"),
    ],
)  # fmt: skip
def test_what_the_libraries_refuse_is_one_clear_error(trained: Train, training: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        trained(**training)


# Data


def test_max_seq_length_cuts_rows(trained: Train) -> None:
    _, done = trained(max_seq_length=52)
    assert max(len(row["input_ids"]) for row in done.train_dataset) == 52


def _varied_rows(folder: Path) -> str:
    rows = [{"instruction": f"q {n}", "output": "a" * (3 + 7 * (n % 8))} for n in range(32)]
    return str(write_rows(folder / "varied.jsonl", rows))


def test_group_by_length_makes_batches_of_like_length(trained: Train, tmp_path: Path) -> None:
    top = {"dataset_path": _varied_rows(tmp_path)}

    def padding(**training: Any) -> int:
        _, done = trained(top, batch_size=4, **training)
        return sum(int((batch["attention_mask"] == 0).sum()) for batch in done.get_train_dataloader())

    assert padding(group_by_length=True) < 0.75 * padding(group_by_length=False)


def test_packed_rows_do_not_see_each_other(trained: Train, tmp_path: Path) -> None:
    top = {"dataset_path": _varied_rows(tmp_path)}
    _, plain = trained(top, batch_size=32, max_seq_length=256, learning_rate=0.0, max_steps=1)
    _, packed = trained(top, batch_size=1, max_seq_length=256, learning_rate=0.0, max_steps=1, packing=True)
    assert len(packed.train_dataset) < len(plain.train_dataset) / 2

    def losses(done: Any) -> float:
        """Sum of the losses over all learnt tokens; equal when each row attends to itself alone."""
        done.model.eval()
        total = 0.0
        with torch.no_grad():
            for batch in done.get_train_dataloader():
                learnt = int((batch["labels"] != -100).sum())
                total += float(done.model(**batch).loss) * learnt
        return total

    assert losses(packed) == pytest.approx(losses(plain), rel=1e-5)


def test_loading_processes_prefetch_and_persistence(trained: Train) -> None:
    _, done = trained(
        dataloader_num_workers=2, dataloader_prefetch_factor=3, dataloader_persistent_workers=True, max_steps=1
    )
    loader = done.get_train_dataloader()
    assert (loader.num_workers, loader.prefetch_factor, loader.persistent_workers) == (2, 3, True)


@pytest.mark.parametrize("wanted", [True, False])
def test_pinned_memory_on_a_gpu(host_config: HostConfig, wanted: bool) -> None:
    config = from_host(host_config(dataloader_pin_memory=wanted))
    plan = plan_device(config, DeviceFacts("cuda", fast_bf16=True))
    assert plan.pin_memory is wanted


# Precision and speed


@pytest.mark.parametrize(("training", "dtype"), [({}, torch.float32), ({"bf16": True}, torch.bfloat16)])
def test_precision_of_the_frozen_weights(
    trained: Train, monkeypatch: pytest.MonkeyPatch, training: dict[str, Any], dtype: torch.dtype
) -> None:
    monkeypatch.setattr("sidestep.trainer.device_plan.cpu_dtype", lambda: "bfloat16")
    _, done = trained(**training)
    assert done.model.get_base_model().model.layers[0].mlp.up_proj.weight.dtype == dtype
    assert weights_of(done).dtype == torch.float32  # the adapter's own stay precise


def test_full_fine_tuning_in_bf16_keeps_precise_weights_and_multiplies_in_bf16(
    trained: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sidestep.trainer.device_plan.cpu_dtype", lambda: "bfloat16")
    seen = set()
    layer = torch.nn.functional.linear

    def linear(*args: Any) -> torch.Tensor:
        result = layer(*args)
        seen.add(result.dtype)
        return result

    monkeypatch.setattr(torch.nn.functional, "linear", linear)
    _, done = trained(adapter_type="full", rank=None, alpha=None, target_modules=None, bf16=True, max_steps=1)
    assert {weights.dtype for weights in done.model.parameters()} == {torch.float32}
    assert torch.bfloat16 in seen


@pytest.mark.parametrize(
    ("training", "attention"),
    [({}, "sdpa"), ({"use_sdpa": False}, "eager"), ({"use_sdpa": False, "memory_efficient_attention": True}, "sdpa")],
)
def test_attention(trained: Train, training: dict[str, Any], attention: str) -> None:
    _, done = trained(**training)
    assert done.model.config._attn_implementation == attention


@pytest.mark.parametrize(
    ("training", "attention", "mlp"),
    [
        ({}, 1, 1),
        ({"gradient_checkpointing": True}, 2, 2),
        ({"gradient_checkpointing": "selective"}, 2, 1),
        ({"gradient_checkpointing_json": '"selective"'}, 2, 1),
        ({"activation_checkpointing": "attention_only"}, 2, 1),
        ({"activation_checkpointing": "full"}, 2, 2),
        ({"activation_checkpointing": "none"}, 1, 1),
        ({"gradient_checkpointing": True, "activation_checkpointing": "attention_only"}, 2, 1),
    ],
)
def test_gradient_checkpointing_recomputes_what_it_says(
    trained: Train, monkeypatch: pytest.MonkeyPatch, training: dict[str, Any], attention: int, mlp: int
) -> None:
    calls: Counter[str] = Counter()
    load = AutoModelForCausalLM.from_pretrained

    def counted(*args: Any, **kwargs: Any) -> Any:
        model = load(*args, **kwargs)
        for layer in model.model.layers:
            layer.self_attn.k_proj.register_forward_hook(lambda *_: calls.update(["attention"]))
            layer.mlp.up_proj.register_forward_hook(lambda *_: calls.update(["mlp"]))
        return model

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", counted)
    _, done = trained(**training, max_steps=3)
    per_step = 3 * 2  # steps, layers
    assert calls == {"attention": attention * per_step, "mlp": mlp * per_step}
    assert math.isfinite(history(done, "train_loss")[0])


def test_selective_checkpointing_changes_no_gradient(trained: Train) -> None:
    plain = weights_of(trained(learning_rate=0.01)[1])
    assert torch.equal(plain, weights_of(trained(learning_rate=0.01, gradient_checkpointing="selective")[1]))


@pytest.mark.parametrize("kind", [True, "selective"])
def test_gradient_checkpointing_kwargs_reach_torch(
    trained: Train, monkeypatch: pytest.MonkeyPatch, kind: bool | str
) -> None:
    seen = []
    original = torch.utils.checkpoint.checkpoint

    def spy(*args: Any, **kwargs: Any) -> Any:
        seen.append(kwargs.get("preserve_rng_state"))
        return original(*args, **kwargs)

    monkeypatch.setattr("torch.utils.checkpoint.checkpoint", spy)
    monkeypatch.setattr("sidestep.trainer.model_loader.checkpoint", spy)
    monkeypatch.setattr("transformers.modeling_utils.checkpoint", spy)
    options = {"use_reentrant": False, "preserve_rng_state": False}
    trained(gradient_checkpointing=kind, gradient_checkpointing_kwargs=options, max_steps=1)
    assert seen.count(False) == 2  # layers; TRL has a checkpoint of its own around the loss


def test_selective_checkpointing_needs_attention_blocks() -> None:
    with pytest.raises(ConfigError, match="no attention blocks"):
        model_loader.checkpoint_attention_blocks(torch.nn.Linear(1, 1))


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiler that has seen nothing yet, and an environment that allows it."""
    torch._dynamo.reset()
    for name in ("PYTORCH_DISABLE_COMPILE", "TORCH_COMPILE_DISABLE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("compiler")
def test_torch_compile_with_backend_and_mode(trained: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def spy(model: Any = None, **kwargs: Any) -> Any:
        asked.append((type(model).__name__, kwargs.get("backend"), kwargs.get("mode")))
        return model  # compiling even a small model takes 15 s; tests/gpu does it for real

    monkeypatch.setattr(torch, "compile", spy)
    options = {"torch_compile_backend": "eager", "torch_compile_mode": "max-autotune", "max_steps": 1}
    trained(torch_compile=False, **options)
    assert asked == []
    trained(torch_compile=True, **options)
    assert ("PeftModelForCausalLM", "eager", "max-autotune") in asked
    with pytest.raises(ConfigError, match="NO_SUCH_BACKEND"):
        trained(torch_compile=True, torch_compile_backend="no_such_backend")


@pytest.mark.usefixtures("compiler")
def test_compiling_for_cuda_graphs_begins_after_the_warmup_steps() -> None:
    compilations: list[int] = []

    def counting(module: torch.fx.GraphModule, example: Any) -> Any:
        compilations.append(len(example))
        return module.forward

    compiled = torch.compile(torch.nn.Linear(2, 2), backend=counting)
    delay, state, counts = DelayCompilation(2), TrainerState(), []
    arguments, control = TrainingArguments(output_dir="unused", use_cpu=True), TrainerControl()
    delay.on_train_begin(arguments, state, control)
    for step in range(4):
        compiled(torch.zeros(1, 2))
        counts.append(len(compilations))
        state.global_step = step + 1
        delay.on_step_end(arguments, state, control)
    delay.on_train_end(arguments, state, control)
    assert counts == [0, 0, 1, 1]


def test_cuda_graphs_are_compiled_for_one_shape(host_config: HostConfig, tmp_path: Path) -> None:
    config = from_host(host_config(use_cuda_graphs=True, cuda_graph_warmup_steps=7))
    plan = plan_device(config, DeviceFacts("cuda", fast_bf16=True, has_compiler=True))
    assert training._compilation_callbacks(config, plan)[0]._steps == 7
    arguments = training_arguments(config, plan, ModelFolder(tmp_path))
    assert (arguments.torch_compile, arguments.torch_compile_mode) == (True, "reduce-overhead")
    assert arguments.pad_to_multiple_of == 128


def test_checkpointing_from_both_spellings(host_config: HostConfig) -> None:
    assert checkpointing(from_host(host_config())) is False
    assert checkpointing(from_host(host_config(gradient_checkpointing=True))) is True
