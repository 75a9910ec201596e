"""The three shapes in which a training arrives, and what is said about a wrong one."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sidestep.shared.errors import ConfigError, ManifestError, SidestepError
from sidestep.trainer.cli import parse_settings
from sidestep.trainer.config import REQUIRED, with_overrides
from sidestep.trainer.config_reading import from_host, read_config

HostConfig = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def _logs_reach_caplog(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("sidestep"), "propagate", True)


def _expert(root: Path, **changes: Any) -> Path:
    manifest: dict[str, Any] = {
        "name": "shop",
        "version": "1.2.0",
        "base_models": [{"name": "F:/models/Qwen3-0.6B", "quantization": "int4", "prompt_template": "chatml"}],
        "training": {
            "dataset": {"path": "datasets/train.jsonl", "field_mapping": {"text": "text"}, "_comment": "x"},
            "config": {
                "adapter_type": "dora", "rank": 14, "alpha": 28, "target_modules": ["q_proj"], "epochs": 2.0,
                "learning_rate": 5e-5, "batch_size": 2, "gradient_accumulation_steps": 45, "lr_scheduler": "cosine",
                "_comment": "x",
            },
        },
    }  # fmt: skip
    manifest |= changes
    (root / "datasets").mkdir(parents=True)
    (root / "datasets" / "train.jsonl").write_text("")
    (root / "manifest.json").write_text(json.dumps({k: v for k, v in manifest.items() if v is not None}))
    return root


def test_expert_folder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = read_config(_expert(tmp_path / "shop"))
    assert (config.expert_name, config.expert_version) == ("shop", "1.2.0")
    assert (config.base_model_name, config.quantization) == ("F:/models/Qwen3-0.6B", "int4")
    assert config.output_dir == tmp_path / "shop" / "weights"
    assert config.dataset_path == str(tmp_path / "shop" / "datasets" / "train.jsonl")
    assert (config.adapter_type, config.rank, config.alpha) == ("dora", 14, 28)
    assert caplog.records == []  # comments are ignored in silence


def test_schema_1_and_adapter_from_the_model_block(tmp_path: Path) -> None:
    training = {
        "epochs": 1,
        "learning_rate": 1e-4,
        "batch_size": 1,
        "gradient_accumulation_steps": 1,
        "lr_scheduler": "linear",
    }
    expert = _expert(
        tmp_path / "shop",
        base_models=None,
        base_model={"name": "a/b", "adapters": [{"type": "lora", "target_modules": ["q_proj"], "r": 8, "alpha": 16}]},
        training={"dataset": {"path": "datasets/train.jsonl"}, "config": training},
    )
    config = read_config(expert)
    assert (config.adapter_type, config.rank, config.alpha, config.target_modules) == ("lora", 8, 16.0, ("q_proj",))


def test_host_file(tmp_path: Path, host_config: HostConfig) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(host_config(rank=8)))
    assert read_config(path).rank == 8


def test_name_and_version_come_from_the_manifest_beside_the_weights(tmp_path: Path, host_config: HostConfig) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps({"name": "shop", "version": "3", "base_model": {"name": "x"}}))
    config = from_host(host_config())
    assert (config.expert_name, config.expert_version) == ("shop", "3")


def test_embedded_shape(host_config: HostConfig) -> None:
    document = host_config(
        rank=None,
        alpha=None,
        adapter_type="ia3",
        gradient_checkpointing_json='"selective"',
        lr_scheduler_kwargs_json='{"a": 1}',
    )
    document |= {
        "expert_name": "shop",
        "expert_version": "2",
        "base_model": {"prompt_template": "alpaca"},
        "gradient_checkpointing_kwargs_json": '{"use_reentrant": false}',
        "validation_path": None,
        "resume_checkpoint": "/x/checkpoint-5",
    }
    config = from_host(document)
    assert (config.expert_name, config.expert_version, config.prompt_template) == ("shop", "2", "alpaca")
    assert config.gradient_checkpointing == "selective"
    assert config.gradient_checkpointing_kwargs == {"use_reentrant": False}
    assert config.lr_scheduler_kwargs == {"a": 1}
    assert (config.rank, config.alpha, config.resume_checkpoint) == (None, None, "/x/checkpoint-5")


def test_unknown_keys_are_one_warning_that_names_them(
    host_config: HostConfig, caplog: pytest.LogCaptureFixture
) -> None:
    from_host(host_config(memory_clear_every=5, zebra=1, _comment="x"))
    [record] = caplog.records
    assert "memory_clear_every, zebra" in record.getMessage()


@pytest.mark.parametrize("name", sorted(set(REQUIRED) - {"base_model_name", "output_dir", "dataset_path"}))
def test_a_missing_field_is_named(host_config: HostConfig, name: str) -> None:
    with pytest.raises(ConfigError, match=f"'{name}' is missing"):
        from_host(host_config(**{name: None}))


@pytest.mark.parametrize(
    ("training", "reason"),
    [
        ({"rank": None}, "'rank' is missing"),
        ({"target_modules": []}, "'target_modules' is missing"),
        ({"adapter_type": "qlora"}, "unknown adapter type 'qlora'"),
        ({"batch_size": "many"}, "batch_size = 'many' is wrong"),
        ({"batch_size": 0}, "batch_size = 0 must be at least 1"),
        ({"fp16": True, "bf16": True}, "both true"),
        ({"feedforward_modules": ["down_proj"]}, "no meaning for lora"),
        ({"streaming": True, "group_by_length": True}, "cannot be sorted by length"),
        ({"pretokenized_cache": "x", "streaming": True}, "exclude each other"),
        ({"lr_scheduler_kwargs_json": "{"}, "not valid JSON"),
    ],
)
def test_wrong_values_are_refused_with_the_field_and_the_reason(
    host_config: HostConfig, training: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ConfigError, match=reason):
        from_host(host_config(**training))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "has no manifest.json"),
        ("{", "is not valid JSON: .* at line 1"),
        ("[]", "does not hold a JSON object"),
        ('{"version": "1"}', "'name' is missing"),
        ('{"name": "x", "version": "1"}', "base_models"),
        ('{"name": "x", "version": "1", "base_model": {"name": "y"}, "training": 3}', "'training' is not an object"),
    ],
)
def test_bad_manifests(tmp_path: Path, content: str | None, reason: str) -> None:
    if content is not None:
        (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(ManifestError, match=reason):
        read_config(tmp_path)


def test_missing_config_file(tmp_path: Path) -> None:
    with pytest.raises(SidestepError, match="no such file"):
        read_config(tmp_path / "none.json")


def test_overrides(host_config: HostConfig) -> None:
    config = with_overrides(
        from_host(host_config()), {"batch_size": 4, **parse_settings(["bf16=true", "optim=sgd", "rank=2"])}
    )
    assert (config.batch_size, config.bf16, config.optim, config.rank) == (4, True, "sgd", 2)
    with pytest.raises(ConfigError, match=r"no field 'batchsize'.*did you mean batch_size"):
        with_overrides(config, {"batchsize": 1})
    with pytest.raises(ConfigError, match="not FIELD=VALUE"):
        parse_settings(["batch_size"])
