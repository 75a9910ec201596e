"""Reading JSON that a person wrote: what is wrong is said with file, line and column, in one error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from sidestep.shared.errors import SidestepError
from sidestep.shared.files import read_bounded


def read_json(path: Path, limit: int, error_class: type[SidestepError]) -> Any:
    """The value in a file of at most ``limit`` bytes. Raises ``error_class``.

    Links are followed, because the user named the file.
    """
    try:
        return orjson.loads(read_bounded(path.resolve(), limit))
    except FileNotFoundError as error:
        raise error_class(f"{path}: no such file") from error
    except orjson.JSONDecodeError as error:
        raise error_class(
            f"{path} is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}",
            hint="correct the file there",
        ) from error
    except OSError as error:
        raise error_class(f"{path} cannot be read: {error.strerror}") from error


def read_json_object(path: Path, limit: int, error_class: type[SidestepError]) -> dict[str, Any]:
    """The same, for files that must be an object."""
    document = read_json(path, limit, error_class)
    if not isinstance(document, dict):
        raise error_class(f"{path} does not hold a JSON object", hint='it must start with {"')
    return document
