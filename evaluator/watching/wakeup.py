"""Waking up when something may have changed. An event is a hint; the poll interval is the promise.

Event queues overflow, and network and container mounts often send no events at all: whoever waits here scans again
after at most ``poll_seconds``.
"""

from __future__ import annotations

import os
import selectors
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from sidestep.shared.logs import get_logger
from sidestep.shared.protocol.place import Place

log = get_logger("evaluator.watch")


class Wakeup:
    """Something to wait on, for as long as the block runs, that other threads and signal handlers can set off."""

    def __init__(self) -> None:
        self._read = self._write = -1

    def __enter__(self) -> Wakeup:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ends, self._read, self._write = (self._read, self._write), -1, -1
        for end in ends:
            os.close(end)

    def fileno(self) -> int:
        return self._read

    def notify(self) -> None:
        """End the wait that is going on, or the next one. Without effect outside the block."""
        if self._write >= 0:
            with suppress(BlockingIOError):  # already set off many times over
                os.write(self._write, b"!")

    def clear(self) -> None:
        """Forget all notifications so far."""
        with suppress(BlockingIOError):
            while os.read(self._read, 4096):
                pass


class _FolderEvents(FileSystemEventHandler):
    def __init__(self, wakeup: Wakeup) -> None:
        self._wakeup = wakeup

    def on_any_event(self, event: FileSystemEvent) -> None:
        if event.event_type in ("created", "moved") and event.is_directory:
            self._wakeup.notify()


class Watcher:
    """Watches the folders where checkpoints appear, as they come into being, for as long as the block runs.

    Not recursively: our own reports lie below the same root, and every published checkpoint passes through the outbox.
    """

    def __init__(self, place: Place, wakeup: Wakeup) -> None:
        self._place = place
        self._events = _FolderEvents(wakeup)
        self._observer: BaseObserver | None = None
        self._watched: set[Path] = set()
        self._supported = True

    def __enter__(self) -> Watcher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._observer:
            self._observer.stop()
            self._observer.join()

    def watch_new_folders(self) -> None:
        """Watch folders that have appeared since the last call, and start again when the observer died."""
        if not self._supported:
            return
        try:
            if self._observer is None or not self._observer.is_alive():
                self._observer, self._watched = Observer(), set()
                self._observer.start()
            for folder in self._folders() - self._watched:
                self._watch(self._observer, folder)
        except OSError as error:  # out of inotify watches, or a file system without events
            log.warning("no file system events (%s): scanning every few seconds instead", error)
            self._supported = False

    def _watch(self, observer: BaseObserver, folder: Path) -> None:
        with suppress(FileNotFoundError, PermissionError):  # gone again, or not ours to read: the next call looks again
            observer.schedule(self._events, str(folder), recursive=False)
            self._watched.add(folder)

    def _folders(self) -> set[Path]:
        """The folders there are; what cannot be listed is the scan's to say."""
        folders = {self._place.root}
        with suppress(PermissionError):
            for model in self._place.model_folders():
                folders |= {model.root, model.outbox}
        return {folder for folder in folders if _is_folder(folder)}


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir() and not path.is_symlink()
    except PermissionError:
        return False


def wait_for_any(wakeup: Wakeup, others: tuple[IO[bytes], ...], timeout: float) -> None:
    """Return when woken, when one of ``others`` can be read, or after ``timeout`` seconds."""
    with selectors.DefaultSelector() as selector:
        selector.register(wakeup, selectors.EVENT_READ)
        for source in others:
            selector.register(source, selectors.EVENT_READ)
        selector.select(timeout)
    wakeup.clear()
