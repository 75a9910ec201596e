"""Evaluates every checkpoint of a fine-tuning run beside the training, without ever making it wait.

What a training script needs has its name here; importing this package alone loads nothing heavy.

    from sidestep import PublishCheckpoint

    trainer = SFTTrainer(..., callbacks=[PublishCheckpoint(suite="tests/test_cases.json", launch=True)])

In the repository the three packages below are links to folders at the top level; in a wheel they are folders.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sidestep.shared.errors import SidestepError
    from sidestep.shared.protocol.marker import RunDescription
    from sidestep.shared.protocol.outbox import OutboxLimits
    from sidestep.trainer.publishing.advice import FollowAdvice
    from sidestep.trainer.publishing.launch import LaunchOptions
    from sidestep.trainer.publishing.publisher import PublishCheckpoint

__all__ = ["FollowAdvice", "LaunchOptions", "OutboxLimits", "PublishCheckpoint", "RunDescription", "SidestepError"]

_HOMES = {
    "FollowAdvice": "sidestep.trainer.publishing.advice",
    "LaunchOptions": "sidestep.trainer.publishing.launch",
    "OutboxLimits": "sidestep.shared.protocol.outbox",
    "PublishCheckpoint": "sidestep.trainer.publishing.publisher",
    "RunDescription": "sidestep.shared.protocol.marker",
    "SidestepError": "sidestep.shared.errors",
}


def __getattr__(name: str) -> object:
    """Import a public name from its module when it is first asked for (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'sidestep' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
