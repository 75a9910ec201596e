"""The command ``sidestep``: co-launch of trainer and evaluator."""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Annotated

import typer

from sidestep.shared.commands.exit_codes import EXIT_USAGE
from sidestep.shared.commands.program import run_app
from sidestep.shared.launch.co_launch import CoLaunch, python_command
from sidestep.shared.launch.live_display import is_wanted, live_view
from sidestep.shared.logs import configure_logging, get_logger
from sidestep.shared.protocol.layout import ExpertFolder
from sidestep.shared.protocol.manifest import expert_manifest
from sidestep.shared.protocol.place import find_place, holds_checkpoints

log = get_logger("sidestep")

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Fine-tune an expert and evaluate every checkpoint beside the training, which never waits for it.",
)

FailOnRegression = Annotated[
    bool, typer.Option("--fail-on-regression", help="Exit with 3 when a gate refuses the last checkpoint.")
]


@app.callback()
def _sidestep() -> None:
    """Fine-tune an expert and evaluate every checkpoint beside the training, which never waits for it."""


@app.command(
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    epilog="All other options go to the trainer (--max-steps, --save-steps, --set …): see `sidestep-trainer --help`.",
)
def up(
    context: typer.Context,
    expert: Annotated[Path, typer.Argument(metavar="EXPERT_DIR", help="Folder with manifest.json.")],
    base_model: Annotated[
        str | None, typer.Option(help="Where the base model is; default: SIDESTEP_BASE_MODEL, then the manifest.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N; for both processes.")] = "auto",
    dtype: Annotated[str, typer.Option(help="Evaluation in auto, float32, bfloat16 or float16.")] = "auto",
    suite: Annotated[Path | None, typer.Option(help="Test cases; default: EXPERT_DIR/tests/test_cases.json.")] = None,
    output_dir: Annotated[Path | None, typer.Option(help="Weights folder; default: EXPERT_DIR/weights.")] = None,
    max_new_tokens: Annotated[int | None, typer.Option(min=1, help="Longest answer, in tokens.")] = None,
    max_slowdown: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="What training may lose to the evaluator; default 0.02, which is 2 %; 0: only what it leaves over.",
        ),
    ] = None,
    fail_on_regression: FailOnRegression = False,
    report_to: Annotated[
        str | None, typer.Option(help="Send evaluation curves to tensorboard, wandb, mlflow, trackio, all or none.")
    ] = None,
    webhook: Annotated[str | None, typer.Option(help="POST a JSON summary of each outcome to this address.")] = None,
    metrics_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Serve the evaluator's Prometheus metrics and /healthz here.")
    ] = None,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML of the last checkpoint to this file.")] = None,
    log_json: Annotated[bool, typer.Option("--log-json", help="Log JSON lines instead of text.")] = False,
) -> None:
    """Train EXPERT_DIR and evaluate its checkpoints at the same time; ends when every checkpoint has its report."""
    configure_logging(json_lines=log_json)
    expert_manifest(ExpertFolder(expert))  # a wrong folder is one error here, not one from each process
    both = ["--device", device, *_option("--base-model", base_model), *(["--log-json"] if log_json else [])]
    trainer = [str(expert), *both, *_option("--output-dir", output_dir), *context.args]
    evaluator = [
        *("watch", str(expert), "--drain-on-stdin-close", "--dtype", dtype, *both),
        *_option("--weights-dir", output_dir),
        *_option("--suite", suite),
        *_option("--max-new-tokens", max_new_tokens),
        *_option("--max-slowdown", max_slowdown),
        *(["--fail-on-regression"] if fail_on_regression else []),
        *_option("--report-to", report_to),
        *_option("--webhook", webhook),
        *_option("--metrics-port", metrics_port),
        *_option("--junit", junit),
    ]
    place = find_place(expert, weights=output_dir)
    with ExitStack() as stack:
        wanted = is_wanted(json_lines=log_json)
        outputs = _outputs(stack) if wanted else None
        launch = CoLaunch(
            python_command("sidestep.trainer", *trainer),
            python_command("sidestep.evaluator", *evaluator),
            anything_published=lambda: any(holds_checkpoints(model.root) for model in place.model_folders()),
            outputs=outputs,
            one_session=max_slowdown == 0,
        )
        stack.enter_context(live_view(place, wanted=wanted, outputs=outputs or ()))
        ended = launch.run()
    raise typer.Exit(EXIT_USAGE if ended.trainer == EXIT_USAGE else ended.exit_code)


def _outputs(stack: ExitStack) -> tuple[IO[bytes], IO[bytes]]:
    """Two files without names for what both processes print: unlike a pipe, a file never fails its writer.

    Their lines are shown above the live view; should this process be killed, training goes on undisturbed.
    """
    os.environ.setdefault("COLUMNS", str(shutil.get_terminal_size().columns))
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    return stack.enter_context(TemporaryFile("a+b")), stack.enter_context(TemporaryFile("a+b"))


def _option(name: str, value: object) -> list[str]:
    return [] if value is None else [name, str(value)]


def main() -> None:
    run_app(app, "sidestep")


if __name__ == "__main__":
    main()
