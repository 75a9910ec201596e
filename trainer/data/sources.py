"""Where rows come from: files of four formats, folders of them, folders that datasets saved, and the hub.

Files are read row by row with one reader for both loading and streaming, so that a single broken line costs one row
and not the whole file. What a reader yields is ``(place, row)``; a line that is not a row comes as UnusableRow.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import datasets

from sidestep.shared.errors import DatasetError
from sidestep.shared.logs import get_logger
from sidestep.trainer.config.data_options import FORMATS
from sidestep.trainer.data.file_formats import READERS, reader_of

log = get_logger("trainer.data")


class Source(Protocol):
    """A named set of rows."""

    @property
    def name(self) -> str: ...

    def rows(self, *, streaming: bool) -> Iterator[tuple[str, Any]]:
        """Place and row, in the data set's order. Raises DatasetError."""
        ...

    def declared_rows(self) -> int | None:
        """How many rows there are, where that is known without reading them."""
        ...

    def identity(self) -> str:
        """Changes whenever the rows do."""
        ...


@dataclass(frozen=True)
class Files:
    """One file, or the files of a folder in the order of their names."""

    name: str
    paths: tuple[Path, ...]
    formats: tuple[str, ...]

    def rows(self, *, streaming: bool) -> Iterator[tuple[str, Any]]:
        for path, kind in zip(self.paths, self.formats, strict=True):
            try:
                for place, row in READERS[kind](path, streaming):
                    yield (f"{path.name} {place}" if len(self.paths) > 1 else place), row
            except OSError as error:
                raise DatasetError(f"{path} cannot be read: {error.strerror or error}") from error

    def declared_rows(self) -> int | None:
        return None

    def identity(self) -> str:
        digest = hashlib.sha256()
        for path, kind in zip(self.paths, self.formats, strict=True):
            with path.open("rb") as file:
                digest.update(f"{kind} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
        return digest.hexdigest()


@dataclass(frozen=True)
class Saved:
    """A folder that datasets' ``save_to_disk`` wrote."""

    name: str
    data: datasets.Dataset

    def rows(self, *, streaming: bool) -> Iterator[tuple[str, Any]]:
        yield from ((f"row {number}", row) for number, row in enumerate(self.data, 1))

    def declared_rows(self) -> int | None:
        return len(self.data)

    def identity(self) -> str:
        return str(self.data._fingerprint)


@dataclass(frozen=True)
class Hub:
    """A data set of the hub, as ``name::split::config`` names it."""

    name: str
    repository: str
    split: str
    config: str | None

    def rows(self, *, streaming: bool) -> Iterator[tuple[str, Any]]:
        data = self._call(lambda: datasets.load_dataset(
            self.repository, self.config, split=self.split, streaming=streaming))  # fmt: skip
        yield from ((f"row {number}", row) for number, row in enumerate(data, 1))

    def declared_rows(self) -> int | None:
        info = self._call(lambda: datasets.load_dataset_builder(self.repository, self.config)).info
        split = (info.splits or {}).get(self.split)
        return split.num_examples or None if split else None

    def identity(self) -> str:
        builder = self._call(lambda: datasets.load_dataset_builder(self.repository, self.config))
        return f"{self.repository} {self.split} {builder.config_id} {builder.hash}"

    def _call(self, load: Callable[[], Any]) -> Any:
        try:
            return load()
        except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise DatasetError(
                f"the dataset {self.name} is neither a local path nor available from the hub: {reason}",
                hint="hub data sets are written name::split::config",
            ) from error


def open_source(path: str, *, format_name: str | None = None, hub: bool = False) -> Source:
    """The rows that a path or hub id names. Raises DatasetError when there is no such thing."""
    if not path:
        raise DatasetError("no dataset is named", hint="set training.dataset.path in the manifest, or dataset_path")
    hub = hub or format_name == "huggingface"
    base, _, split = path.partition("::")
    local = Path(base).expanduser()
    if not hub and local.is_dir():
        return _folder(path, local, split)
    if local.exists() and not local.is_dir():
        if split:
            raise DatasetError(f"{base} is a file and has no splits", hint=f"name it without ::{split}")
        return _files(path, (local,), format_name)
    if hub or _is_hub_id(path):
        name, split, config = (*path.split("::"), "", "")[:3]
        return Hub(path, name, split or "train", config or None)
    raise DatasetError(
        f"the dataset {path} does not exist", hint="correct dataset_path; relative paths start at the manifest"
    )


def _is_hub_id(path: str) -> bool:
    name, marked, _ = path.partition("::")
    looks_local = name.startswith((".", "/", "~")) or "\\" in name or reader_of(Path(name)) is not None
    return not looks_local and (name.count("/") == 1 or (bool(marked) and "/" not in name))


def _files(name: str, paths: tuple[Path, ...], format_name: str | None) -> Files:
    kinds = []
    for path in paths:
        kind = reader_of(path) or (format_name if format_name in READERS else None)
        if kind is None:
            raise DatasetError(f"{path} is of unknown format", hint=f"set format to one of {', '.join(FORMATS)}")
        if path.stat().st_size == 0:
            raise DatasetError(f"{path} is empty")
        kinds.append(kind)
    return Files(name, paths, tuple(kinds))


def _folder(name: str, folder: Path, split: str) -> Source:
    if is_saved(folder):
        return Saved(name, load_saved(folder, split or "train"))
    paths = tuple(sorted(path for path in folder.iterdir() if path.is_file() and reader_of(path)))
    if not paths:
        hint = "it needs .jsonl, .json, .csv or .parquet files"
        raise DatasetError(f"the folder {folder} does not hold any data", hint=hint)
    if split:
        paths = tuple(path for path in paths if path.stem == split)
        if not paths:
            raise DatasetError(f"the folder {folder} has no file named {split}", hint="name one that is there")
    return _files(name, paths, None)


def is_saved(folder: Path) -> bool:
    """Whether datasets' ``save_to_disk`` wrote this folder."""
    return any((folder / name).is_file() for name in ("dataset_dict.json", "state.json"))


def load_saved(folder: Path, split: str) -> datasets.Dataset:
    """One data set from a folder that datasets saved. Raises DatasetError."""
    try:
        data = datasets.load_from_disk(str(folder))
    except (OSError, ValueError, KeyError) as error:
        raise DatasetError(f"{folder} cannot be loaded: {str(error).splitlines()[0]}") from error
    if isinstance(data, datasets.Dataset):
        return data
    if split not in data:
        raise DatasetError(f"{folder} has no split {split}", hint=f"it has {', '.join(data)}; name one with ::split")
    return data[split]
