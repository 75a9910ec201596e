"""Which base model a training has loaded, as a folder that an evaluator can load it from."""

from __future__ import annotations

import os
from pathlib import Path

from huggingface_hub import snapshot_download

from sidestep.shared.errors import BaseModelError
from sidestep.shared.protocol.manifest import BASE_MODEL_VARIABLE


def base_model_of(model: object, given: str | Path | None) -> str:
    """A folder with the base model that a training has loaded. Raises BaseModelError that says what to give.

    Named in this order: by the caller, by SIDESTEP_BASE_MODEL, by the adapter, by the model. A hub id is looked up in
    the hub's local cache, where the training has just read it; nothing is fetched.
    """
    adapters = getattr(model, "peft_config", None) or {}
    named = [given, os.environ.get(BASE_MODEL_VARIABLE)]
    named += [getattr(adapter, "base_model_name_or_path", None) for adapter in adapters.values()]
    config = getattr(model, "config", None)
    named.append(getattr(config, "_name_or_path", None))
    name = next((str(name) for name in named if name), None)
    if name is None:
        raise BaseModelError(
            "the evaluator is not started: the model does not say which base model it was loaded from",
            hint=f"PublishCheckpoint(evaluator=LaunchOptions(base_model=…)), or set {BASE_MODEL_VARIABLE}",
        )
    if Path(name).expanduser().is_dir():
        return str(Path(name).expanduser().resolve())
    try:
        return str(snapshot_download(name, revision=getattr(config, "_commit_hash", None), local_files_only=True))
    except Exception as error:  # the hub's client has a class for each way of not finding a model
        raise BaseModelError(
            f"the evaluator is not started: the base model {name} is neither a folder nor in the hub's local cache",
            hint=f"PublishCheckpoint(evaluator=LaunchOptions(base_model=…)), or set {BASE_MODEL_VARIABLE}",
        ) from error
