"""What a checkpoint can be compared with, by name. Imports nothing, so that commands can name the choices."""

from __future__ import annotations

from enum import StrEnum


class Against(StrEnum):
    """What a checkpoint is compared with: the keys of a report's ``comparisons``."""

    PREVIOUS = "previous"
    BEST = "best"
    BASE = "base"
    PREVIOUS_VERSION = "previous_version"
    PREVIOUS_VERSION_BEST = "previous_version_best"
