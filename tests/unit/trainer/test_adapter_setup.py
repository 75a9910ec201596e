"""Every kind of training on a real model: what is trained, what is saved, and that it learns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from sidestep.shared.errors import ConfigError
from sidestep.shared.protocol.layout import ModelFolder
from sidestep.trainer.adapter_setup import adapter_config
from sidestep.trainer.config import SoftPrompt, with_overrides
from sidestep.trainer.config_reading import from_host
from sidestep.trainer.soft_prompts import soft_prompt_path
from tests.unit.trainer.conftest import history

Train = Callable[..., Any]
HostConfig = Callable[..., dict[str, Any]]

NOTHING: dict[str, Any] = {"rank": None, "alpha": None, "target_modules": None}
PROMPT: dict[str, Any] = {
    "name": "strict", "tokens": 4, "init_method": "text", "init_text": "ab", "path": "soft_prompts/strict_4.pt",
}  # fmt: skip
KINDS: dict[str, dict[str, Any]] = {
    "lora": {},
    "dora": {"adapter_type": "dora"},
    "ia3": {"adapter_type": "ia3", "rank": None, "alpha": None, "target_modules": ["k_proj", "down_proj"],
            "feedforward_modules": ["down_proj"]},
    "lokr": {"adapter_type": "lokr"},
    "prompt_tuning": {"adapter_type": "prompt_tuning", "soft_prompts": [PROMPT], **NOTHING},
    "full": {"adapter_type": "full", **NOTHING},
}  # fmt: skip


def _shapes(trainer: Any) -> dict[str, tuple[int, ...]]:
    return {name: tuple(weights.shape) for name, weights in trainer.model.named_parameters() if weights.requires_grad}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_learns_and_its_checkpoint_is_what_the_trainer_has_in_memory(
    trained: Train, tiny_model: Path, kind: str
) -> None:
    _, done = trained(
        **KINDS[kind], max_steps=12, learning_rate=0.03, save_strategy="steps", save_steps=12, lr_scheduler="constant"
    )
    losses = history(done, "loss")
    assert losses[-1] < losses[0]
    checkpoint = Path(done.args.output_dir) / "checkpoint-12"
    source = checkpoint if kind == "full" else tiny_model
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    if kind != "full":
        model = PeftModel.from_pretrained(model, checkpoint)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    ids = tokenizer("<|im_start|>user\nquestion 3<|im_end|>\n", return_tensors="pt")
    done.model.eval()
    model.eval()
    with torch.no_grad():
        assert torch.equal(model(**ids).logits, done.model(**ids).logits)
    assert (Path(done.args.output_dir) / "final").is_dir()
    assert (Path(done.args.output_dir) / "adapter").is_dir() is (kind != "full")


def test_rank_alpha_dropout_and_target_modules(trained: Train) -> None:
    _, done = trained(rank=3, alpha=12, dropout=0.25, target_modules=["q_proj"])
    shapes = _shapes(done)
    assert len(shapes) == 4  # A and B in two layers
    assert all("q_proj" in name for name in shapes)
    assert set(shapes.values()) == {(3, 64), (64, 3)}
    layer = done.model.base_model.model.model.layers[0].self_attn.q_proj
    assert layer.scaling["default"] == 4
    assert layer.lora_dropout["default"].p == 0.25


def test_dora_trains_magnitudes_and_lokr_drops_out_its_rank(trained: Train) -> None:
    _, dora = trained(**KINDS["dora"])
    assert sum("magnitude" in name for name in _shapes(dora)) == 4
    _, lokr = trained(**KINDS["lokr"], dropout=0.5)
    layer = lokr.model.base_model.model.model.layers[0].self_attn.q_proj
    assert (layer.rank_dropout["default"], layer.r["default"], layer.alpha["default"]) == (0.5, 4, 8)


def test_ia3_scales_the_input_of_feedforward_modules_and_the_output_of_the_others(trained: Train) -> None:
    _, done = trained(**KINDS["ia3"])
    shapes = _shapes(done)
    assert {shape for name, shape in shapes.items() if "k_proj" in name} == {(32, 1)}  # outputs: 2 heads of 16
    assert {shape for name, shape in shapes.items() if "down_proj" in name} == {(1, 128)}  # inputs


def test_full_trains_every_weight_without_an_adapter(trained: Train, tiny_model: Path) -> None:
    _, done = trained(**KINDS["full"], learning_rate=0.01)
    before = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).state_dict()
    assert not isinstance(done.model, PeftModel)
    assert all(not torch.equal(before[name], weights.detach()) for name, weights in done.model.named_parameters())


def test_all_linear_means_all_but_the_output_layer(trained: Train) -> None:
    _, done = trained(target_modules="all-linear")
    names = {name.split(".lora")[0].rpartition(".")[2] for name in _shapes(done)}
    assert names == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


def test_an_adapter_on_the_output_layer_is_trained(trained: Train) -> None:
    _, done = trained(
        target_modules=["q_proj", "lm_head"], learning_rate=0.1, evaluation_strategy="steps", eval_steps=1
    )
    assert done.args.loss_type == "nll"
    assert history(done, "loss")[-1] < history(done, "loss")[0]
    assert history(done, "eval_loss")[-1] < history(done, "eval_loss")[0]
    assert done.model.base_model.model.lm_head.lora_B["default"].weight.abs().sum() > 0


@pytest.mark.parametrize(
    ("modules", "reason"),
    [
        (["q_proj", "nowhere"], r"does not have: nowhere.*down_proj.*q_proj"),
        (["self_attn"], r"self_attn, which is not a linear layer.*q_proj"),
        (["embed_tokens"], "no linear layer"),
    ],
)
def test_modules_that_cannot_be_adapted_are_refused(
    host_config: HostConfig, tiny_model: Path, modules: list[str], reason: str
) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    with pytest.raises(ConfigError, match=reason):
        adapter_config(from_host(host_config(target_modules=modules)), model)


def test_another_adapter_type_on_the_command_line_leaves_out_what_it_has_no_use_for(host_config: HostConfig) -> None:
    config = with_overrides(from_host(host_config(dropout=0.1)), {"adapter_type": "full"})
    assert (config.adapter_type, config.rank, config.dropout, config.target_modules) == ("full", None, 0.0, ())


@pytest.mark.parametrize(
    ("kind", "quantization"),
    [
        *((kind, "int4") for kind in ("lora", "dora", "ia3", "prompt_tuning")),
        *((kind, "int8") for kind in ("lora", "ia3", "lokr", "prompt_tuning")),
    ],
)
def test_quantized_weights_stay_quantized_and_the_adapter_learns(trained: Train, kind: str, quantization: str) -> None:
    _, done = trained({"quantization": quantization}, **KINDS[kind], max_steps=6, learning_rate=0.03)
    base = done.model.get_base_model()
    weight = base.get_submodule("model.layers.0.mlp.up_proj").weight
    assert weight.dtype == (torch.uint8 if quantization == "int4" else torch.int8)
    if quantization == "int4":
        assert weight.quant_state.quant_type == "nf4"
        assert weight.quant_state.nested  # double quantization: the scales are quantized, too
    losses = history(done, "loss")
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_a_validation_changes_nothing_of_a_training_on_int4_weights(
    trained: Train, tiny_model: Path, kind: str
) -> None:
    """Where the processor has AVX-512 bf16, bitsandbytes would pack the weights, and DoRA not know what it reads."""
    _, done = trained({"quantization": "int4"}, **KINDS[kind], max_steps=1)
    ids = AutoTokenizer.from_pretrained(tiny_model)("question 3 and more", return_tensors="pt").input_ids
    losses = []
    for training in (True, False, True):
        with torch.set_grad_enabled(training):
            losses.append(float(done.model.train(training)(input_ids=ids, labels=ids).loss))
    assert losses[1:] == pytest.approx([losses[0]] * 2, abs=1e-3)


def test_soft_prompt_starts_from_the_texts_embeddings_and_is_saved_under_its_name(
    trained: Train, tiny_model: Path
) -> None:
    _, done = trained(**KINDS["prompt_tuning"], learning_rate=0.0)
    path = Path(done.args.output_dir) / "soft_prompts" / "strict_4.safetensors"  # never a pickle
    vectors = load_file(path)["prompt_embeddings"]
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    ids = AutoTokenizer.from_pretrained(tiny_model)("abab", return_tensors="pt")["input_ids"]
    assert torch.equal(vectors, model.get_input_embeddings()(ids)[0].detach())  # repeated to 4 tokens


def test_soft_prompt_from_random_vectors_changes_with_the_seed(trained: Train) -> None:
    kind = {**KINDS["prompt_tuning"], "soft_prompts": [{"name": "free.v1", "length": 3}], "learning_rate": 0.0}

    def vectors(seed: int) -> torch.Tensor:
        _, done = trained(**kind, seed=seed)
        path = Path(done.args.output_dir) / "soft_prompts" / "free.v1.safetensors"
        prompt: torch.Tensor = load_file(path)["prompt_embeddings"]
        return prompt

    first = vectors(1)
    assert first.shape == (3, 64)
    assert torch.equal(first, vectors(1))
    assert not torch.equal(first, vectors(2))


@pytest.mark.parametrize("top", [{}, {"quantization": "int4"}], ids=["none", "int4"])
def test_soft_prompts_beside_an_adapter_are_trained_on_top_of_it(trained: Train, top: dict[str, Any]) -> None:
    prompts = [PROMPT, {"name": "free", "tokens": 2}]
    config, done = trained(top, soft_prompts=prompts, learning_rate=0.05, packing=True)
    folder = ModelFolder(Path(done.args.output_dir))
    saved = {path.relative_to(folder.root).as_posix() for path in folder.root.rglob("soft_prompts/*")}
    assert saved == {"soft_prompts/strict_4.safetensors", "soft_prompts/free.safetensors"}
    assert (folder.root / "adapter" / "adapter_model.safetensors").is_file()
    assert load_file(soft_prompt_path(folder, config.soft_prompts[1]))["prompt_embeddings"].shape == (2, 64)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"adapter_type": "full"}, "target_modules have no meaning for full"),
        ({"adapter_type": "ia3"}, "rank, alpha have no meaning for ia3"),
        ({"adapter_type": "ia3", "rank": None, "alpha": None, "dropout": 0.1}, "dropout has no meaning for ia3"),
        ({**KINDS["ia3"], "feedforward_modules": ["up_proj"]}, "up_proj, which target_modules does not"),
        ({**NOTHING, "adapter_type": "prompt_tuning"}, "soft_prompts has 0"),
        ({**KINDS["prompt_tuning"], "soft_prompts": [PROMPT, {"name": "b", "tokens": 1}]}, "soft_prompts has 2"),
        ({"soft_prompts": [PROMPT], "method": "dpo"}, "cannot be trained with dpo"),
        ({"soft_prompts": [PROMPT, PROMPT]}, "two soft_prompts are called 'strict'"),
        ({"soft_prompts": [{**PROMPT, "tokens": 0}]}, "tokens = 0 must be at least 1"),
        ({"soft_prompts": [{**PROMPT, "init_text": None}]}, "init_method text needs init_text"),
        ({"soft_prompts": [{**PROMPT, "init_method": "random"}]}, "init_text has no effect"),
        ({"soft_prompts": [{**PROMPT, "path": "../../x.pt"}]}, "leads out of the model's folder"),
        ({"soft_prompts": [{**PROMPT, "path": "C:\\x.pt"}]}, "leads out of the model's folder"),
        ({"soft_prompts": [{"tokens": 3}]}, "soft_prompts"),
        ({"soft_prompts": "strict"}, "no list of objects"),
    ],
)
def test_contradictions_are_refused_with_the_reason(
    host_config: HostConfig, changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ConfigError, match=reason):
        from_host(host_config(**changes))


@pytest.mark.parametrize(("kind", "quantization"), [("full", "int4"), ("full", "int8"), ("lokr", "int4")])
def test_what_cannot_be_trained_on_quantized_weights_is_refused(
    host_config: HostConfig, kind: str, quantization: str
) -> None:
    with pytest.raises(ConfigError, match="exclude each other"):
        from_host({**host_config(**KINDS[kind]), "quantization": quantization})


def test_soft_prompt_names() -> None:
    folder = ModelFolder(Path("m"))
    assert soft_prompt_path(folder, SoftPrompt("json_v1.2", 4)) == Path("m/soft_prompts/json_v1.2.safetensors")
    assert soft_prompt_path(folder, SoftPrompt("a", 4, path="p\\b.pt")) == Path("m/p/b.safetensors")
