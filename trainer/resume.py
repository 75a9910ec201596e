"""Which checkpoint a training goes on from: the one that is named, or the newest complete one."""

from __future__ import annotations

from pathlib import Path

from sidestep.shared.errors import ConfigError
from sidestep.shared.logs import get_logger
from sidestep.shared.protocol.checkpoint import IncompleteCheckpoint, check_complete, checkpoint_steps
from sidestep.shared.protocol.layout import ModelFolder

log = get_logger("trainer")

LATEST = "latest"


def resume_from(named: str | None, folder: ModelFolder) -> Path | None:
    """The checkpoint to go on from, or None to start anew. Raises ConfigError when the named one is not complete."""
    if named is None:
        return None
    if named != LATEST:
        path = Path(named)
        try:
            check_complete(path)
        except (IncompleteCheckpoint, OSError) as error:
            raise ConfigError(
                f"cannot resume from {path}: {error}", hint="name a complete checkpoint, or latest"
            ) from error
        return path
    for step in reversed(checkpoint_steps(folder, follow_links=True)):
        try:
            check_complete(folder.checkpoint(step))
        except (IncompleteCheckpoint, OSError) as error:
            log.warning("%s is passed over: %s", folder.checkpoint(step), error)
        else:
            return folder.checkpoint(step)
    log.warning("no complete checkpoint in %s: training starts anew", folder.root)
    return None
