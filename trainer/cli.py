"""The command ``sidestep-trainer``."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from sidestep.shared.commands.program import run_app
from sidestep.shared.errors import ConfigError
from sidestep.shared.logs import configure_logging
from sidestep.shared.protocol.manifest import BASE_MODEL_VARIABLE

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.command()
def train(
    source: Annotated[
        Path, typer.Argument(metavar="EXPERT_DIR|CONFIG.json", help="An expert's folder, or the host's configuration.")
    ],
    base_model: Annotated[
        str | None, typer.Option(help="Where the base model is; default: SIDESTEP_BASE_MODEL, then the manifest.")
    ] = None,
    output_dir: Annotated[Path | None, typer.Option(help="Weights folder; default: EXPERT_DIR/weights.")] = None,
    max_steps: Annotated[int | None, typer.Option(min=1, help="Optimizer steps; overrides epochs.")] = None,
    epochs: Annotated[float | None, typer.Option(min=0, help="Passes over the data; may be fractional.")] = None,
    save_steps: Annotated[int | None, typer.Option(min=1, help="Steps between checkpoints.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N.")] = None,
    resume: Annotated[str | None, typer.Option(help="A checkpoint folder, or latest.")] = None,
    allow_unquantized: Annotated[
        bool, typer.Option("--allow-unquantized", help="Train without quantization where the device cannot quantize.")
    ] = False,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Any other field; may be repeated.")
    ] = None,
    log_json: Annotated[bool, typer.Option("--log-json", help="Log JSON lines instead of text.")] = False,
) -> None:
    """Train an expert and publish every checkpoint; evaluation is another process's work (sidestep-evaluator)."""
    configure_logging(json_lines=log_json)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from sidestep.trainer.config import with_overrides
    from sidestep.trainer.config_reading import read_config
    from sidestep.trainer.unsloth_path import import_unsloth_first

    named: dict[str, Any] = {
        "base_model_path": base_model or os.environ.get(BASE_MODEL_VARIABLE),
        "output_dir": output_dir,
        "max_steps": max_steps,
        "epochs": epochs,
        "save_steps": save_steps,
        "device": device,
        "resume_checkpoint": resume,
        "allow_unquantized": allow_unquantized or None,
    }
    overrides = {name: value for name, value in named.items() if value is not None} | parse_settings(set_ or [])
    config = with_overrides(read_config(source), overrides)
    import_unsloth_first(config)
    from sidestep.trainer.trainer import train as run_training

    run_training(replace(config, output_dir=config.output_dir.absolute()))


def parse_settings(settings: list[str]) -> dict[str, Any]:
    """FIELD=VALUE pairs; a value that is JSON is taken as such, anything else as text. Raises ConfigError."""
    parsed = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise ConfigError(f"--set {setting} is no FIELD=VALUE", hint="write it like --set batch_size=1")
        try:
            parsed[name.strip()] = orjson.loads(text)
        except orjson.JSONDecodeError:
            parsed[name.strip()] = text
    return parsed


def main() -> None:
    run_app(app, "sidestep-trainer")
