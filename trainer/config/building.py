"""From values to a TrainingConfig: types, required fields and consistency, each mistake as one error."""

from __future__ import annotations

import difflib
from typing import Any, get_args

from pydantic import TypeAdapter, ValidationError

from sidestep.shared.errors import ConfigError
from sidestep.trainer.config.checks import MEANINGLESS, check_consistency
from sidestep.trainer.config.fields import FIELD_NAMES, REQUIRED, AdapterType, TrainingConfig

_configs = TypeAdapter(TrainingConfig)


def build_config(values: dict[str, Any], where: str) -> TrainingConfig:
    """A validated configuration; None means absent. Raises ConfigError: ``where``, the field, and what is wrong."""
    values = {name: value for name, value in values.items() if value is not None}
    if isinstance(values.get("target_modules"), str):
        values["target_modules"] = (values["target_modules"],)
    missing = [name for name in REQUIRED if name not in values]
    if missing:
        raise ConfigError(
            f"{where}: the field '{missing[0]}' is missing", hint=f"add it; required are {', '.join(REQUIRED)}"
        )
    if values["adapter_type"] not in get_args(AdapterType):
        raise ConfigError(
            f"{where}: unknown adapter type {values['adapter_type']!r}",
            hint=f"known are {', '.join(get_args(AdapterType))}",
        )
    try:
        config = _configs.validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        raise ConfigError(f"{where}: {name} = {first['input']!r} is wrong: {first['msg']}") from error
    check_consistency(config, where)
    return config


def with_overrides(config: TrainingConfig, overrides: dict[str, Any], where: str = "command line") -> TrainingConfig:
    """The configuration with some fields replaced. Raises ConfigError that suggests near names for unknown ones.

    With another adapter_type, fields that it has no use for (a rank for ia3) go back to their defaults.
    """
    for name in overrides:
        if name not in FIELD_NAMES:
            near = difflib.get_close_matches(name, FIELD_NAMES, 3)
            hint = f"did you mean {' or '.join(near)}?" if near else "docs/configuration.md lists all fields"
            raise ConfigError(f"{where}: there is no field '{name}'", hint=hint)
    current = {name: getattr(config, name) for name in FIELD_NAMES}
    if overrides.get("adapter_type", config.adapter_type) != config.adapter_type:
        for name in MEANINGLESS.get(overrides["adapter_type"], ()):
            del current[name]
    return build_config({**current, **overrides}, where)
