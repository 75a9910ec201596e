"""A program of a test waits at a gate until the test opens it: an event between processes, in place of a sleep."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Gate:
    """A named pipe: whoever opens it for reading waits until somebody opens it for writing."""

    path: Path

    @classmethod
    def create(cls, path: Path) -> Gate:
        """A closed gate at ``path``."""
        os.mkfifo(path)
        return cls(path)

    @property
    def wait(self) -> str:
        """A statement in which a Python program waits until the gate is opened."""
        return f"open({str(self.path)!r}).read()"

    def open(self) -> None:
        """Let one waiting program go on; waits for it, as long as the test's own time limit allows."""
        self.path.write_text("")
