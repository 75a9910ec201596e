"""One way to log for every process: short lines for people, or JSON lines for machines (``--log-json``).

Lines go to standard error, so that standard output stays free for what a command was asked to print.
Fields given as ``extra={"fields": {...}}`` become keys of the JSON record; people see the message alone.
"""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import Any

import orjson

_ROOT = "sidestep"
_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}
_CONTROL |= {
    code: f"\\u{code:04x}" for code in (*range(0x200E, 0x2010), *range(0x202A, 0x202F), *range(0x2066, 0x206A))
}


def terminal_safe(text: str) -> str:
    """Text with control characters and direction overrides made visible: names and outputs are untrusted input."""
    return text.translate(_CONTROL)


class _HumanFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        name = record.name.removeprefix(f"{_ROOT}.").partition(".")[0]
        level = "" if record.levelno <= logging.INFO else f"{record.levelname}: "
        line = f"{datetime.now():%H:%M:%S} {name:<9} {level}{terminal_safe(record.getMessage())}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        document: dict[str, Any] = {
            "time": datetime.now(UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        document |= getattr(record, "fields", {})
        if record.exc_info:
            document["traceback"] = self.formatException(record.exc_info)
        try:
            return orjson.dumps(document, default=str).decode()
        except TypeError:  # lone surrogates in a name
            safe = {key: str(value).encode("utf-8", "replace").decode() for key, value in document.items()}
            return orjson.dumps(safe).decode()


def configure_logging(*, json_lines: bool = False, verbose: bool = False) -> None:
    """Set up this process's log, once; a second call replaces the first."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter() if json_lines else _HumanFormatter())
    root = logging.getLogger(_ROOT)
    root.handlers[:] = [handler]
    root.setLevel(logging.DEBUG if verbose else logging.INFO)
    root.propagate = False
    # It is imported with PEFT wherever it is installed, and advises every user of a CPU to install something else.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)


def get_logger(name: str) -> logging.Logger:
    """Logger below ``sidestep``; the first part of ``name`` (trainer, evaluator, launch) opens each line."""
    return logging.getLogger(f"{_ROOT}.{name.removeprefix(f'{_ROOT}.')}")
