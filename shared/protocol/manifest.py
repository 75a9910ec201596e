"""The expert's manifest.json, as both processes read it: name, version, base model, and the blocks as they are.

Schema "1.0" has one ``base_model`` object, schema "2.0" a list ``base_models``; the first of the list counts.
Keys that start with ``_`` are comments at every level.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sidestep.shared.errors import ManifestError
from sidestep.shared.json_input import read_json_object
from sidestep.shared.protocol.layout import ExpertFolder, model_folder_name

BASE_MODEL_VARIABLE = "SIDESTEP_BASE_MODEL"
MAX_MANIFEST_BYTES = 16 << 20


@dataclass(frozen=True)
class Manifest:
    """What Sidestep uses of a manifest; ``document`` is all of it, without comments."""

    path: Path
    name: str
    version: str
    base_model: dict[str, Any]
    training: dict[str, Any]
    evaluation: dict[str, Any]
    document: dict[str, Any] = field(repr=False)

    @property
    def base_model_name(self) -> str:
        """Name or path of the base model as the manifest gives it; may be a path on somebody else's disk."""
        return str(self.base_model.get("name") or "")

    @property
    def model_folder(self) -> str:
        return model_folder_name(self.base_model_name)


def read_manifest(path: Path) -> Manifest:
    """Read and check a manifest. Raises ManifestError that names the file and what is wrong in it."""
    document = without_comments(read_json_object(path, MAX_MANIFEST_BYTES, ManifestError))
    for key in ("name", "version"):
        if not isinstance(document.get(key), str) or not document[key].strip():
            raise ManifestError(f"{path}: the field '{key}' is missing", hint=f'add "{key}": "…" at the top level')
    return Manifest(
        path=path,
        name=document["name"],
        version=document["version"],
        base_model=_base_model(path, document),
        training=_block(path, document, "training"),
        evaluation=_block(path, document, "evaluation"),
        document=document,
    )


def expert_manifest(expert: ExpertFolder) -> Manifest:
    """The manifest of an expert's folder. Raises ManifestError when there is none."""
    if not expert.root.is_dir():
        raise ManifestError(f"{expert.root}: no such folder", hint="give the folder that contains manifest.json")
    if not expert.manifest.is_file():
        raise ManifestError(f"{expert.root} has no manifest.json", hint="give the folder that contains manifest.json")
    return read_manifest(expert.manifest)


def find_expert(folder: Path) -> ExpertFolder | None:
    """The expert that a folder belongs to, by the nearest manifest.json: this rule says whose manifest is whose.

    ``folder`` may be the expert's own, its weights folder, or a model's folder in that: both processes are pointed at
    any of them.
    """
    folder = folder.resolve()
    experts = (ExpertFolder(root) for root in (folder, folder.parent, folder.parent.parent))
    return next((expert for expert in experts if expert.manifest.is_file()), None)


def chosen_base_model(override: str | None, manifest: Manifest | None) -> str | None:
    """Where the base model is: what the user says, else ``SIDESTEP_BASE_MODEL``, else what the manifest says."""
    named = manifest.base_model_name if manifest else ""
    return override or os.environ.get(BASE_MODEL_VARIABLE) or named or None


def without_comments(value: Any) -> Any:
    """The same JSON value without keys that start with ``_``, at every level."""
    if isinstance(value, dict):
        return {key: without_comments(member) for key, member in value.items() if not key.startswith("_")}
    if isinstance(value, list):
        return [without_comments(item) for item in value]
    return value


def _base_model(path: Path, document: dict[str, Any]) -> dict[str, Any]:
    models = document.get("base_models")
    chosen = models[0] if isinstance(models, list) and models else document.get("base_model")
    if isinstance(chosen, str):
        chosen = {"name": chosen}
    if not isinstance(chosen, dict) or not chosen.get("name"):
        raise ManifestError(
            f"{path}: the field 'base_models' (schema 2.0) or 'base_model' (1.0) is missing or has no 'name'",
            hint='add "base_models": [{"name": "…"}]',
        )
    return chosen


def _block(path: Path, document: dict[str, Any], key: str) -> dict[str, Any]:
    block = document.get(key) or {}
    if not isinstance(block, dict):
        raise ManifestError(f"{path}: '{key}' is not an object")
    return block
