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

from shared.layout import MARKER_NAME, OUTBOX_NAME
from shared.logs import get_logger

log = get_logger("evaluator.watch")


class Wakeup:
    """Something to wait on that other threads and signal handlers can set off."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)

    def fileno(self) -> int:
        return self._read

    def notify(self) -> None:
        with suppress(BlockingIOError):  # already set off many times over
            os.write(self._write, b"!")

    def clear(self) -> None:
        with suppress(BlockingIOError):
            while os.read(self._read, 4096):
                pass

    def close(self) -> None:
        os.close(self._read)
        os.close(self._write)


class _Hints(FileSystemEventHandler):
    def __init__(self, wakeup: Wakeup) -> None:
        self._wakeup = wakeup

    def on_any_event(self, event: FileSystemEvent) -> None:
        names = f"{event.src_path!s}\n{event.dest_path!s}"
        if MARKER_NAME in names or OUTBOX_NAME in names or event.is_directory:
            self._wakeup.notify()


class Watcher:
    """Watches a folder that may not exist yet, for as long as the block runs."""

    def __init__(self, root: Path, wakeup: Wakeup) -> None:
        self._root = root
        self._wakeup = wakeup
        self._observer = None if not root.is_dir() else self._observe()

    def __enter__(self) -> Watcher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._observer:
            self._observer.stop()
            self._observer.join()

    def ensure(self) -> None:
        """Start watching once the folder exists, and again when the observer died."""
        if (self._observer is None or not self._observer.is_alive()) and self._root.is_dir():
            self._observer = self._observe()

    def _observe(self) -> BaseObserver | None:
        observer = Observer()
        try:
            observer.schedule(_Hints(self._wakeup), str(self._root), recursive=True)
            observer.start()
        except OSError as error:  # out of inotify watches, or a file system without events
            log.warning("no file system events for %s (%s): looking every few seconds instead", self._root, error)
            return None
        return observer


def wait_for_any(wakeup: Wakeup, others: tuple[IO[bytes], ...], timeout: float) -> None:
    """Return when woken, when one of ``others`` can be read, or after ``timeout`` seconds."""
    with selectors.DefaultSelector() as selector:
        selector.register(wakeup, selectors.EVENT_READ)
        for source in others:
            selector.register(source, selectors.EVENT_READ)
        selector.select(timeout)
    wakeup.clear()
