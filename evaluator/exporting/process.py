"""The exporting process: trackers' clients are big, start threads, wait for networks, and may hang; so they live here.

    python -m sidestep.evaluator.exporting.process REPORTS --to tensorboard,wandb --webhook URL

The supervisor starts it.

Each line on standard input is a JSON list of the steps that still wait for their turn and starts a round; the end of
input starts the last one. It runs at the lowest priority and dies with its parent.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
from pathlib import Path

import orjson

from sidestep.evaluator.exporting.destinations import chosen_destinations
from sidestep.evaluator.exporting.sending import Sender
from sidestep.evaluator.sharing.process_priority import die_with_parent
from sidestep.shared.logs import configure_logging
from sidestep.shared.protocol.layout import ReportsFolder

RETRY_SECONDS = 30.0  # what could not be sent is tried again this often


class _Inbox:
    """The latest line of standard input; lines that came while a round was running count as one."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._latest: list[int] | None = None
        self._ended = False

    def start(self) -> None:
        """Read in a thread of its own from now on."""
        threading.Thread(target=self._read, daemon=True).start()

    def next(self, timeout: float | None) -> tuple[list[int] | None, bool]:
        """What arrived since the last call, if anything did within ``timeout``, and whether input has ended."""
        with self._changed:
            self._changed.wait_for(lambda: self._latest is not None or self._ended, timeout)
            latest, self._latest = self._latest, None
            return latest, self._ended

    def _read(self) -> None:
        for line in sys.stdin.buffer:
            with self._changed:
                self._latest = list(orjson.loads(line))
                self._changed.notify()
        with self._changed:
            self._ended = True
            self._changed.notify()


def main() -> None:
    """Serve until standard input closes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("reports", type=Path)
    parser.add_argument("--to", default="none")
    parser.add_argument("--webhook")
    parser.add_argument("--log-json", action="store_true")
    given = parser.parse_args()
    die_with_parent(os.getppid())
    configure_logging(json_lines=given.log_json)
    os.dup2(2, 1)  # clients print; standard output belongs to the evaluator's own tables
    os.nice(19)
    sender = Sender(ReportsFolder(given.reports), chosen_destinations(given.to), given.webhook)
    inbox, waiting, complete = _Inbox(), list[int](), True
    inbox.start()
    while True:
        latest, ended = inbox.next(None if complete else RETRY_SECONDS)
        waiting = waiting if latest is None else latest
        complete = sender.send(waiting)
        if ended:
            break
    sender.close()


if __name__ == "__main__":
    main()
