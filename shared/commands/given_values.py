"""From a value in a file or a variable to what would be on the command line, where the library takes over."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args, get_origin

from cyclopts import Argument

from sidestep.shared.errors import ConfigError

FOLDER_OR_NAME = ("--base-model",)  # text that is a path when there is a folder of that name, and else a name


def texts_from_variable(text: str, argument: Argument) -> list[str]:
    """One text; for options that may be repeated as many as there are between commas, or in a JSON list of texts."""
    if not is_repeatable(argument):
        return [text]
    try:
        values = json.loads(text)
    except ValueError:
        values = None
    if isinstance(values, list) and all(isinstance(value, str) for value in values):
        return values
    return text.split(",")


def texts_from_file(value: Any, argument: Argument, folder: Path, where: str) -> list[str]:
    """The same for a value in a file of ``folder``. Raises ConfigError that begins with ``where`` for another kind.

    NAME=VALUE options may be a table there.
    """
    if not is_repeatable(argument):
        hint = next((hint for hint in (argument.hint, *get_args(argument.hint)) if isinstance(hint, type)), str)
        text = _text(value, hint, where)
        is_path = issubclass(hint, Path)
        inside = folder / Path(text).expanduser()
        return [str(inside) if is_path or (argument.name in FOLDER_OR_NAME and inside.is_dir()) else text]
    if isinstance(value, dict) and "=" in (argument.parameter.metavar or ""):
        return [f"{name}={json.dumps(entry)}" for name, entry in value.items()]
    return [_text(entry, str, where) for entry in (value if isinstance(value, list) else [value])]


def is_repeatable(argument: Argument) -> bool:
    return get_origin(argument.hint) in (tuple, list)


def as_json(value: Any) -> str:
    """For messages."""
    return json.dumps(value, default=str, ensure_ascii=False)


def _text(value: Any, hint: type, where: str) -> str:
    if issubclass(hint, bool):
        fits, wanted = isinstance(value, bool), "true or false"
    elif issubclass(hint, int | float):
        fits, wanted = isinstance(value, int | float) and not isinstance(value, bool), "a number"
    else:
        fits, wanted = isinstance(value, str), "text in quotes"
    if not fits:
        raise ConfigError(f"{where} = {as_json(value)} is wrong", hint=f"it takes {wanted}")
    return str(value).lower() if isinstance(value, bool) else str(value)
