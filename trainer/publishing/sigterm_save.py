"""The one save that no callback hears of before it begins: transformers' own on SIGTERM (``enable_jit_checkpoint``)."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Protocol


class _SavesOnSigterm(Protocol):
    """What is used of transformers' CheckpointManager, whose method is the handler of SIGTERM."""

    execute_jit_checkpoint: Callable[[], None]


def before_saves_on_sigterm(prepare: Callable[[], None]) -> None:
    """Call ``prepare`` before each save that transformers makes on SIGTERM, between two steps.

    Without effect where it makes none. Its own handler stays: only what it calls is prepared for.
    """
    manager: _SavesOnSigterm | None = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    if manager is None or not hasattr(manager, "execute_jit_checkpoint"):
        return
    save = manager.execute_jit_checkpoint

    def prepare_and_save() -> None:
        prepare()
        save()

    manager.execute_jit_checkpoint = prepare_and_save
