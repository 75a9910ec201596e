"""What a marker says about a training where nobody has described it: read from the model and the expert's manifest."""

from __future__ import annotations

from pathlib import Path

from sidestep.shared.errors import ManifestError
from sidestep.shared.logs import get_logger
from sidestep.shared.protocol.layout import last_path_part
from sidestep.shared.protocol.manifest import find_expert, read_manifest
from sidestep.shared.protocol.marker import RunDescription

log = get_logger("trainer.publisher")


def describe_run(output_dir: Path, model: object) -> RunDescription:
    """What can be known without being told: the manifest of the expert around ``output_dir``, and the model itself."""
    name, version = _expert_of(output_dir)
    adapter_type = "full"
    if adapters := getattr(model, "peft_config", None):
        adapter = next(iter(adapters.values()))
        kind = getattr(adapter.peft_type, "value", adapter.peft_type)
        adapter_type = "dora" if getattr(adapter, "use_dora", False) else str(kind).lower()
    return RunDescription(
        expert_name=name,
        expert_version=version,
        base_model=str(getattr(getattr(model, "config", None), "_name_or_path", "") or ""),
        adapter_type=adapter_type,
        dtype=str(getattr(model, "dtype", "unknown")).removeprefix("torch."),
    )


def _expert_of(output_dir: Path) -> tuple[str, str]:
    """Name and version of the expert; the folder's name where there is no manifest that can be read."""
    expert = find_expert(output_dir)
    if expert:
        try:
            manifest = read_manifest(expert.manifest)
            return manifest.name, manifest.version
        except ManifestError as error:
            log.warning("name and version are unknown: %s", error)
    return last_path_part(str(output_dir.resolve())), "unknown"
