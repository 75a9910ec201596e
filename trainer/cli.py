"""The command ``sidestep-trainer``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import orjson
from cyclopts import Parameter

from sidestep.shared.commands.options import LogOptions, ModelOptions, TrainingOptions, WeightsOptions
from sidestep.shared.commands.program import Program
from sidestep.shared.commands.sources import TRAINER
from sidestep.shared.errors import ConfigError
from sidestep.shared.logs import configure_logging

ABOUT = "Train an expert and publish every checkpoint; evaluation is another process's work (sidestep-evaluator)."

program = Program(
    "sidestep-trainer",
    tables=(TRAINER,),
    about=ABOUT,
    usage="Usage: sidestep-trainer [OPTIONS] EXPERT_DIR|CONFIG",
)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class TrainerOptions:
    """Everything that the trainer is told on its command line."""

    model: ModelOptions = field(default_factory=ModelOptions)
    weights: WeightsOptions = field(default_factory=WeightsOptions)
    training: TrainingOptions = field(default_factory=TrainingOptions)
    log: LogOptions = field(default_factory=LogOptions)


DEFAULTS = TrainerOptions()


@program.app.default
def train(
    source: Annotated[
        Path, Parameter(name="EXPERT_DIR|CONFIG", help="An expert's folder, or the host's configuration as JSON.")
    ],
    /,
    *,
    options: TrainerOptions = DEFAULTS,
) -> None:
    """Train an expert and publish every checkpoint; evaluation is another process's work (sidestep-evaluator)."""
    configure_logging(json_lines=options.log.log_json)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from sidestep.trainer.config.building import with_overrides
    from sidestep.trainer.config.reading import read_config
    from sidestep.trainer.unsloth_path import import_unsloth_first

    config = with_overrides(read_config(source), overrides(options))
    import_unsloth_first(config)
    from sidestep.trainer.trainer import train as run_training

    run_training(replace(config, output_dir=config.output_dir.absolute()))


def overrides(options: TrainerOptions) -> dict[str, Any]:
    """What the options change in the configuration, by field. Raises ConfigError."""
    training = options.training
    named: dict[str, Any] = {
        "base_model_path": options.model.base_model,
        "output_dir": options.weights.weights_dir,
        "max_steps": training.max_steps,
        "epochs": training.epochs,
        "save_steps": training.save_steps,
        "device": options.model.device,
        "resume_checkpoint": training.resume,
        "allow_unquantized": training.allow_unquantized or None,
    }
    return {name: value for name, value in named.items() if value is not None} | parse_settings(training.set)


def parse_settings(settings: Sequence[str]) -> dict[str, Any]:
    """FIELD=VALUE pairs; a value that is JSON is taken as such, anything else as text. Raises ConfigError."""
    parsed = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise ConfigError(f"--set {setting} is not FIELD=VALUE", hint="write it like --set batch_size=1")
        try:
            parsed[name.strip()] = orjson.loads(text)
        except orjson.JSONDecodeError:
            parsed[name.strip()] = text
    return parsed


def main() -> None:
    program.run()
