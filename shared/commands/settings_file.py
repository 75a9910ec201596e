"""sidestep.toml: where the files are, and what is in them.

Read are, from weak to strong: ``sidestep.toml`` in the current folder, the table ``sidestep`` of the expert's manifest,
and ``sidestep.toml`` beside that manifest. An expert's folder can come from somebody else; so its two may not name
places to write to, addresses, or permissions (``NOT_FROM_AN_EXPERT``), which the file in the current folder may.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sidestep.shared.errors import ConfigError, ManifestError
from sidestep.shared.files import read_bounded
from sidestep.shared.protocol.layout import ExpertFolder
from sidestep.shared.protocol.manifest import read_manifest
from sidestep.shared.protocol.place import find_place

SETTINGS_NAME = "sidestep.toml"
MANIFEST_TABLE = "sidestep"
MAX_SETTINGS_BYTES = 1 << 20

NOT_FROM_AN_EXPERT = frozenset({
    "weights_dir", "output_dir", "reports_dir", "junit", "output", "include_path", "force",
    "webhook", "metrics_port", "metrics_host", "host", "port", "allow_host", "allow_hub",
})  # fmt: skip


@dataclass(frozen=True)
class SettingsFile:
    """One document with options. Relative paths in it start at ``folder``; ``forbidden`` keys must not be in it."""

    name: str
    folder: Path
    document: Mapping[str, Any]
    forbidden: frozenset[str] = frozenset()

    def forbids(self, key: str, value: Any) -> bool:
        """Whether a key must not be in this file; among a training's fields it is output_dir."""
        if key != "set":
            return key in self.forbidden
        settings = value if isinstance(value, list | dict) else [value]
        return any(str(setting).partition("=")[0].strip() in self.forbidden for setting in settings)


def settings_files(path: Path | None) -> list[SettingsFile]:
    """The documents that count for a command about ``path``, the strongest first. Raises ConfigError."""
    expert = _expert_of(path)
    here = Path.cwd()
    if expert is None:
        found = [_read(here, frozenset())]
    else:
        found = [_read(expert.root, NOT_FROM_AN_EXPERT), _manifest_table(expert)]
        if here != expert.root:
            found.append(_read(here, NOT_FROM_AN_EXPERT if here.is_relative_to(expert.root) else frozenset()))
    return [file for file in found if file]


def _expert_of(path: Path | None) -> ExpertFolder | None:
    """The expert's folder that a path lies in, if it lies in one."""
    if path is None:
        return None
    place = find_place(path)
    expert = place.expert or place.weights.expert
    return expert if expert.manifest.is_file() else None


def _read(folder: Path, forbidden: frozenset[str]) -> SettingsFile | None:
    path = folder / SETTINGS_NAME
    try:
        document = tomllib.loads(read_bounded(path.resolve(), MAX_SETTINGS_BYTES).decode())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # not UTF-8, or not TOML: the message says where
        raise ConfigError(f"{path} is not valid TOML: {error}", hint="correct the file there") from error
    return SettingsFile(str(_short(path)), folder, document, forbidden)


def _manifest_table(expert: ExpertFolder) -> SettingsFile | None:
    with suppress(ManifestError):  # what is wrong with a manifest, the command says that reads it
        table = read_manifest(expert.manifest).document.get(MANIFEST_TABLE)
        if isinstance(table, dict):
            return SettingsFile(f"{_short(expert.manifest)} ({MANIFEST_TABLE})", expert.root, table, NOT_FROM_AN_EXPERT)
        if table is not None:
            raise ConfigError(f"{expert.manifest}: '{MANIFEST_TABLE}' is not an object")
    return None


def _short(path: Path) -> Path:
    """The path as people would write it here."""
    absolute = path.absolute()
    return absolute.relative_to(Path.cwd()) if absolute.is_relative_to(Path.cwd()) else absolute
