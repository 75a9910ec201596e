"""Checkpoints as transformers writes them, small enough for thousands of them: real files, meaningless weights."""

from __future__ import annotations

import json
from pathlib import Path

from sidestep.shared.files import replace_file
from sidestep.shared.protocol.layout import MARKER_NAME, ModelFolder
from sidestep.shared.protocol.marker import FileEntry, Marker, RunDescription, TrainingMetrics
from sidestep.shared.protocol.outbox import stage


def safetensors_bytes(payload: bytes = b"\0" * 16) -> bytes:
    """A valid safetensors file with one float32 tensor."""
    header = {"weight": {"dtype": "F32", "shape": [len(payload) // 4], "data_offsets": [0, len(payload)]}}
    content = json.dumps(header).encode()
    return len(content).to_bytes(8, "little") + content + payload


def write_checkpoint(model: ModelFolder, step: int, *, salt: int = 0) -> Path:
    """A complete, unpublished checkpoint. ``salt`` changes the weights, as training again would."""
    folder = model.checkpoint(step)
    folder.mkdir(parents=True, exist_ok=True)
    payload = (step * 1000 + salt).to_bytes(8, "little") * 2
    (folder / "adapter_model.safetensors").write_bytes(safetensors_bytes(payload))
    (folder / "adapter_model.safetensors").chmod(0o600)  # as safetensors 0.8 does
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    state = {"global_step": step, "log_history": [{"loss": 2.0 - step / 1000, "learning_rate": 1e-4, "step": step}]}
    (folder / "trainer_state.json").write_text(json.dumps(state))
    return folder


def publish_checkpoint(model: ModelFolder, step: int, *, salt: int = 0, version: str = "0.1.0") -> Marker:
    """Write and publish a checkpoint in the protocol's order, without a trainer."""
    folder = write_checkpoint(model, step, salt=salt)

    def describe(files: tuple[FileEntry, ...]) -> Marker:
        run, metrics = RunDescription("fake", version), TrainingMetrics(train_loss=1.5)
        return Marker(run_id="test", step=step, run=run, files=files, metrics=metrics)

    held = stage(model, folder, describe)
    replace_file(folder / MARKER_NAME, held.marker.to_bytes())
    return held.marker
