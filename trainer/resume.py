"""Which checkpoint a training goes on from: the one that is named, or the newest complete one."""

from __future__ import annotations

from pathlib import Path

from sidestep.shared.errors import ConfigError
from sidestep.shared.logs import get_logger
from sidestep.shared.protocol.checkpoint import IncompleteCheckpoint, check_complete
from sidestep.shared.protocol.layout import ModelFolder, checkpoint_step

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
    for step in sorted(_steps(folder), reverse=True):
        try:
            check_complete(folder.checkpoint(step))
        except (IncompleteCheckpoint, OSError) as error:
            log.warning("%s is passed over: %s", folder.checkpoint(step), error)
        else:
            return folder.checkpoint(step)
    log.warning("no complete checkpoint in %s: training starts anew", folder.root)
    return None


def _steps(folder: ModelFolder) -> list[int]:
    if not folder.root.is_dir():
        return []
    steps = (checkpoint_step(path.name) for path in folder.root.iterdir())
    return [step for step in steps if step is not None]
