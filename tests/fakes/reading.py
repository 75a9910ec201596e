"""Waiting for what a process says, with an end."""

from __future__ import annotations

import subprocess
import threading
from typing import IO

TIMEOUT_SECONDS = 120


def read_lines_until(process: subprocess.Popen[str], stream: IO[str] | None, *texts: str) -> list[str]:
    """Lines of the process's ``stream`` until every one of ``texts`` has been in one.

    Fails, with what was read, when the process ends before; after TIMEOUT_SECONDS it is killed.
    """
    assert stream is not None
    missing, lines = set(texts), list[str]()
    timer = threading.Timer(TIMEOUT_SECONDS, process.kill)
    timer.start()
    try:
        while missing:
            line = stream.readline()
            assert line, f"never said: {', '.join(sorted(missing))}\n{''.join(lines)}"
            lines.append(line)
            missing = {text for text in missing if text not in line}
    finally:
        timer.cancel()
    return lines
