"""What the Rust host imports: ``train_expert(config)``, set up as a program of its own would be."""

from __future__ import annotations

from typing import Any

from sidestep.shared.logs import configure_logging


def train_expert(config: dict[str, Any]) -> None:
    """Train as the host's dictionary says; an exception is the failure, with one clear line as its text."""
    configure_logging()
    from sidestep.trainer.config.reading import from_host
    from sidestep.trainer.unsloth_path import import_unsloth_first

    training = from_host(config)
    import_unsloth_first(training)
    from sidestep.trainer.trainer import train

    train(training)
