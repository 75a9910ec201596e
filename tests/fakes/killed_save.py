"""kill -9 at a chosen point of the save of one step: the function that stands for the point kills the process.

weights        in the middle of writing the weights
optimizer      weights written, optimizer not yet
state          in the middle of trainer_state.json, which comes last
saved          saved, nothing published yet
staging        in the outbox, under a temporary name
held           held in the outbox, no marker yet
marked         marker written
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

POINTS = ("weights", "optimizer", "state", "saved", "staging", "held", "marked")


def arm(point: str, step: int) -> None:
    """Patch the libraries so that the save of ``step`` ends at ``point``."""
    from transformers import Trainer
    from transformers.trainer_callback import TrainerState

    from sidestep.shared.protocol import outbox
    from sidestep.trainer.publishing import checkpoint_publisher as publisher

    folder = f"checkpoint-{step}"

    def concerns(path: object) -> bool:
        return folder in str(path)

    if point == "weights":
        _before(Trainer, "_save", lambda self, output_dir=None, *rest: concerns(output_dir), _half_weights)
    elif point == "optimizer":
        _before(Trainer, "_save_optimizer_and_scheduler", lambda self, output_dir: concerns(output_dir), _die)
    elif point == "state":
        _before(TrainerState, "save_to_json", lambda self, path: concerns(path), _half_file)
    elif point == "saved":
        _before(publisher, "stage", lambda model, checkpoint, *rest, **more: concerns(checkpoint), _die)
    elif point == "staging":
        _before(outbox, "_rename_entry", lambda staging, final: final.name.startswith(f"{step}-"), _die)
    elif point == "held":
        _before(publisher, "replace_file", lambda path, content: concerns(path), _die)
    elif point == "marked":
        _before(os, "utime", lambda path, *rest, **more: concerns(path), _die)
    else:
        raise ValueError(point)


def _before(owner: object, name: str, concerns: Callable[..., bool], end: Callable[..., None]) -> None:
    """Let the function end the process with ``end``, which gets the arguments, when they concern the save."""
    original = getattr(owner, name)

    def patched(*arguments: Any, **options: Any) -> Any:
        if concerns(*arguments, **options):
            end(*arguments)
        return original(*arguments, **options)

    setattr(owner, name, patched)


def _half_weights(trainer: object, folder: str, *rest: object) -> None:
    """What a writer without a temporary file leaves behind."""
    Path(folder).mkdir(exist_ok=True)
    _half_file(trainer, str(Path(folder) / "model.safetensors"))


def _half_file(owner: object, path: str) -> None:
    Path(path).write_bytes(b'{"half')
    _die()


def _die(*arguments: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)
