"""From what the host or a user hands over to a TrainingConfig: three shapes of input, one result.

- the Rust host's configuration file, and the dictionary it passes to embedded Python (docs of both: contract)
- an expert's folder with its manifest

Comments (keys that start with ``_``) are ignored in silence, unknown keys with one warning that names them, null means
absent.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import orjson

from sidestep.shared.errors import ConfigError, ManifestError
from sidestep.shared.json_input import read_json_object
from sidestep.shared.logs import get_logger
from sidestep.shared.protocol.layout import ExpertFolder
from sidestep.shared.protocol.manifest import (
    MAX_MANIFEST_BYTES,
    Manifest,
    expert_manifest,
    find_expert,
    read_manifest,
    without_comments,
)
from sidestep.trainer.config import FIELD_NAMES, SoftPrompt, TrainingConfig, build_config
from sidestep.trainer.data.places import resolve_data_paths

log = get_logger("trainer")

# Keys whose value is JSON text when the host embeds Python; seen inside `training` and at the top level.
_JSON_TEXT = {
    "gradient_checkpointing_json": "gradient_checkpointing",
    "gradient_checkpointing_kwargs_json": "gradient_checkpointing_kwargs",
    "lr_scheduler_kwargs_json": "lr_scheduler_kwargs",
}
_TOP_LEVEL = {
    "base_model_name", "quantization", "dataset_path", "output_dir", "device", "training", "dataset", "expert_name",
    "expert_version", "base_model", "validation_path", "test_path", "resume_checkpoint", "soft_prompts", "method",
    *_JSON_TEXT,
}  # fmt: skip
# Keys of the manifest's dataset block, and what they are called here; None: information for people.
_DATASET_KEYS = {
    "path": "dataset_path", "type": "dataset_type", "validation": "validation_path", "test": "test_path",
    "source": None, "preprocessing": None, "description": None, "split": None,
}  # fmt: skip
# Other spellings seen in soft_prompts, and keys that describe a finished prompt.
_SOFT_PROMPT_KEYS = {"length": "tokens", "num_virtual_tokens": "tokens"}
_SOFT_PROMPT_NOTES = {"description", "purpose", "size_bytes", "sha256"}
_DATASET_FIELDS = {
    "format", "text_field", "field_mapping", "prompt_template", "streaming", "max_in_memory_samples",
    "use_pretokenized", "pretokenized_cache", "validation_path", "test_path", "dataset_type", "multi_task_config",
}  # fmt: skip


def read_config(source: Path) -> TrainingConfig:
    """Configuration from a file of the host's or from an expert's folder. Raises ConfigError or ManifestError."""
    if source.is_dir():
        return from_expert(ExpertFolder(source))
    return from_host(read_json_object(source, MAX_MANIFEST_BYTES, ConfigError), str(source))


def from_expert(expert: ExpertFolder) -> TrainingConfig:
    """Configuration from the manifest in an expert's folder."""
    manifest = expert_manifest(expert)
    dataset = manifest.training.get("dataset") or {}
    values = _flatten(manifest.training.get("config") or {}, dataset, str(manifest.path))
    values |= _from_adapter_block(_first(manifest.base_model.get("adapters")), values)
    values["base_model_name"] = manifest.base_model_name
    values["output_dir"] = expert.weights.root
    values.setdefault("quantization", manifest.base_model.get("quantization") or "none")
    values.setdefault("prompt_template", manifest.base_model.get("prompt_template"))
    if manifest.document.get("soft_prompts"):
        values["soft_prompts"] = manifest.document["soft_prompts"]
    if values.get("soft_prompts"):
        values["soft_prompts"] = _soft_prompts(values["soft_prompts"], str(manifest.path))
        values.setdefault("adapter_type", "prompt_tuning")
    for name in ("field_mapping", "text_field"):  # seen beside the two blocks, too
        values.setdefault(name, manifest.training.get(name))
    return build_config(_with_expert(resolve_data_paths(values, expert.root), manifest), str(manifest.path))


def from_host(document: dict[str, Any], where: str = "the host's configuration") -> TrainingConfig:
    """Configuration from either shape of the Rust host's."""
    document = without_comments(document)
    _warn_unknown(set(document) - _TOP_LEVEL, where)
    values = _flatten(document.get("training") or {}, document.get("dataset") or {}, where)
    top_level = _TOP_LEVEL & set(FIELD_NAMES)
    values |= {key: document[key] for key in top_level if document.get(key) is not None}
    values |= _decode_json_text(document, where)
    if values.get("soft_prompts"):
        values["soft_prompts"] = _soft_prompts(values["soft_prompts"], where)
    base_model = document.get("base_model")
    if isinstance(base_model, dict) and base_model.get("prompt_template"):
        values.setdefault("prompt_template", base_model["prompt_template"])
    if values.get("output_dir") is None:
        raise ConfigError(f"{where}: the field 'output_dir' is missing")
    if values.get("quantization") is None:
        raise ConfigError(f"{where}: the field 'quantization' is missing", hint="int4, int8 or none")
    manifest = _manifest_of(Path(str(values["output_dir"])))
    if manifest and values.get("multi_task_config"):  # the host makes dataset_path absolute, but not the tasks' files
        values = resolve_data_paths(values, manifest.path.parent)
    return build_config(_with_expert(values, manifest), where)


def _flatten(training: Any, dataset: Any, where: str) -> dict[str, Any]:
    """Fields of TrainingConfig from the manifest's two blocks."""
    for block_name, block in (("training", training), ("dataset", dataset)):
        if not isinstance(block, dict):
            raise ConfigError(f"{where}: '{block_name}' is not an object")
    values = {key: value for key, value in training.items() if value is not None and key in FIELD_NAMES}
    values |= _decode_json_text(training, where)
    unknown = set(training) - set(FIELD_NAMES) - set(_JSON_TEXT)
    if dataset.get("type") == "multi_task":
        values["multi_task_config"] = {key: dataset[key] for key in ("tasks", "validation") if key in dataset}
        dataset = {key: value for key, value in dataset.items() if key not in ("tasks", "validation")}
        values.setdefault("dataset_path", dataset.get("path") or "")
    for key, value in dataset.items():
        name: str | None = key if key in _DATASET_FIELDS else _DATASET_KEYS.get(key)
        if value is not None and name:
            values[name] = value
        elif key not in _DATASET_FIELDS and key not in _DATASET_KEYS:
            unknown.add(key)
    _warn_unknown(unknown, where)
    return values


def _from_adapter_block(adapter: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """What the base model's block says about the adapter, where ``training.config`` says nothing.

    A block about another kind of adapter than the one to train says nothing about it.
    """
    if values.get("adapter_type") not in (None, adapter.get("type")):
        return {}
    names = {"adapter_type": "type", "target_modules": "target_modules", "rank": "r", "alpha": "alpha"}
    names |= {"dropout": "dropout", "feedforward_modules": "feedforward_modules"}
    return {name: adapter[key] for name, key in names.items() if values.get(name) is None and key in adapter}


def _soft_prompts(entries: Any, where: str) -> list[dict[str, Any]]:
    """The manifest's list with our names; what describes a finished prompt (size, hash) is for people."""
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        hint = 'like [{"name": "json", "tokens": 16}]'
        raise ConfigError(f"{where}: soft_prompts is not a list of objects", hint=hint)
    known = {field.name for field in fields(SoftPrompt)}
    prompts = []
    for entry in entries:
        prompt = {_SOFT_PROMPT_KEYS.get(key, key): value for key, value in entry.items() if value is not None}
        _warn_unknown(set(prompt) - known - _SOFT_PROMPT_NOTES, f"{where}: soft_prompts")
        prompts.append({key: value for key, value in prompt.items() if key in known})
    return prompts


def _decode_json_text(block: dict[str, Any], where: str) -> dict[str, Any]:
    decoded = {}
    for key, name in _JSON_TEXT.items():
        text = block.get(key)
        if text is None:
            continue
        try:
            decoded[name] = orjson.loads(text)
        except orjson.JSONDecodeError:
            if text != "selective":  # the host has sent the bare word, too
                raise ConfigError(f"{where}: {key} = {text!r} is not valid JSON") from None
            decoded[name] = text
    return decoded


def _with_expert(values: dict[str, Any], manifest: Manifest | None) -> dict[str, Any]:
    given = {key: value for key, value in values.items() if value is not None}
    if manifest:
        given.setdefault("expert_name", manifest.name)
        given.setdefault("expert_version", manifest.version)
    return given


def _manifest_of(output_dir: Path) -> Manifest | None:
    """The manifest of the expert around a weights folder, else of the current folder, where the host starts us."""
    experts = (find_expert(output_dir), ExpertFolder(Path()))
    for expert in experts:
        if expert and expert.manifest.is_file():
            try:
                return read_manifest(expert.manifest)
            except ManifestError as error:
                log.warning("name and version are unknown: %s", error)
    return None


def _first(value: Any) -> dict[str, Any]:
    return value[0] if isinstance(value, list) and value and isinstance(value[0], dict) else {}


def _warn_unknown(keys: set[str], where: str) -> None:
    if keys:
        log.warning("%s: ignored keys that are not known: %s", where, ", ".join(sorted(keys)))
