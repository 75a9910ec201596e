"""The command ``sidestep-evaluator``."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import IO, Annotated

import typer

from sidestep.evaluator.commands import gate as judging_cli
from sidestep.evaluator.commands import showing
from sidestep.evaluator.commands import suite as suite_cli
from sidestep.evaluator.commands import viewing as viewing_cli
from sidestep.evaluator.commands.export import Junit, MetricsHost, MetricsPort, ReportTo, Webhook, export
from sidestep.evaluator.commands.gate import (
    ForbidRegression,
    KeepReports,
    MaxDrop,
    MinCategoryRate,
    MinSuccessRate,
    exit_for,
    gates_given,
)
from sidestep.evaluator.commands.options import DecodingChoice, Options, gates_of, settings_from
from sidestep.evaluator.commands.outlets import LOOPBACK, Outlets, opened, write_results
from sidestep.evaluator.settings import EvaluatorSettings, Order
from sidestep.evaluator.watching.adoption import AdoptedTasks
from sidestep.evaluator.watching.rerun import rerun_tasks
from sidestep.evaluator.watching.tasks import TaskSource
from sidestep.evaluator.working.run_end import EndCondition
from sidestep.evaluator.working.supervisor import RunResult, Supervisor
from sidestep.shared.commands.exit_codes import EXIT_FAILURE
from sidestep.shared.commands.program import run_app
from sidestep.shared.launch.live_display import is_wanted, live_view
from sidestep.shared.launch.processes import leads_session
from sidestep.shared.logs import configure_logging
from sidestep.shared.protocol.presence import FRESH_SECONDS

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Evaluate every checkpoint that a training publishes, beside it or afterwards.",
)


class Dtype(StrEnum):
    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"
    INT8 = "int8"
    INT4 = "int4"


PathArgument = Annotated[
    Path, typer.Argument(metavar="PATH", help="An expert's folder, its weights folder, or a training's output folder.")
]
BaseModel = Annotated[
    str | None, typer.Option(help="Where the base model is; default: SIDESTEP_BASE_MODEL, then the manifest.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
DtypeOption = Annotated[
    Dtype,
    typer.Option(help="Precision; auto takes what the device computes fast; int8 and int4 quantize the base model."),
]
SuiteOption = Annotated[Path | None, typer.Option(help="Test cases; default: tests/test_cases.json of the expert.")]
WeightsDir = Annotated[Path | None, typer.Option(help="Weights folder, where it is not PATH/weights.")]
ReportsDir = Annotated[Path | None, typer.Option(help="Where reports go; default: training_reports in the weights.")]
DecodingOption = Annotated[
    DecodingChoice, typer.Option(help="greedy, or sampling as the manifest's training.decoding says.")
]
MaxNewTokens = Annotated[int | None, typer.Option(min=1, help="Longest answer, in tokens.")]
MaxSlowdown = Annotated[
    float,
    typer.Option(
        min=0,
        help="What training beside it may lose: 0.02 is 2 % slower steps. 0: only what training leaves over, and where "
        "the system cannot tell that, at most 1.5 % of one processor, or of the time on a GPU.",
    ),
]
Deadline = Annotated[float | None, typer.Option(min=0.001, help="Longest evaluation of one checkpoint, in seconds.")]
OrderOption = Annotated[Order, typer.Option(help="Which checkpoint comes first when several wait.")]
AllowHub = Annotated[bool, typer.Option("--allow-hub", help="The base model may be fetched from the hub.")]
FailOnRegression = Annotated[
    bool,
    typer.Option(
        "--fail-on-regression", help="Exit with 3 when the newest checkpoint's verdict is worse, or a gate refuses it."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
LogJson = Annotated[bool, typer.Option("--log-json", help="Log JSON lines instead of text.")]
Engine = Annotated[str | None, typer.Option(hidden=True, help="Engine factory, as module:function.")]


@app.command()
def watch(
    path: PathArgument,
    base_model: BaseModel = None,
    device: Device = "auto",
    dtype: DtypeOption = Dtype.AUTO,
    suite: SuiteOption = None,
    weights_dir: WeightsDir = None,
    reports_dir: ReportsDir = None,
    decoding: DecodingOption = DecodingChoice.GREEDY,
    max_new_tokens: MaxNewTokens = None,
    order: OrderOption = Order.NEWEST,
    until_idle: Annotated[float | None, typer.Option(min=0, help="End after this many seconds without work.")] = None,
    once: Annotated[bool, typer.Option("--once", help="Evaluate what is pending now, then end.")] = False,
    adopt: Annotated[
        bool, typer.Option("--adopt", help="Also checkpoints without a marker, once they are provably complete.")
    ] = False,
    drain_on_stdin_close: Annotated[bool, typer.Option("--drain-on-stdin-close", hidden=True)] = False,
    poll_seconds: Annotated[float, typer.Option(min=0.05, help="Look again at least this often.")] = 5.0,
    stall_timeout: Annotated[float, typer.Option(min=1, help="Seconds of silence before a worker is replaced.")] = 600,
    retry_seconds: Annotated[float, typer.Option(min=0, hidden=True)] = 5.0,
    max_slowdown: MaxSlowdown = 0.02,
    deadline: Deadline = None,
    report_to: ReportTo = None,
    webhook: Webhook = None,
    metrics_port: MetricsPort = None,
    metrics_host: MetricsHost = LOOPBACK,
    junit: Junit = None,
    fail_on_regression: FailOnRegression = False,
    max_drop: MaxDrop = None,
    min_success_rate: MinSuccessRate = None,
    min_category_rate: MinCategoryRate = None,
    forbid_regression: ForbidRegression = None,
    keep_reports: KeepReports = None,
    allow_hub: AllowHub = False,
    log_json: LogJson = False,
    engine: Engine = None,
) -> None:
    """Evaluate checkpoints as they are published, until stopped. Waits for a folder that does not exist yet."""
    configure_logging(json_lines=log_json)
    options = Options(
        path, base_model, device, dtype.value, suite, weights_dir, reports_dir, decoding, max_new_tokens,
        allow_hub, engine, log_json, keep_reports,
    )  # fmt: skip
    manifest_gates = gates_of(options)
    gates = gates_given(manifest_gates, max_drop, min_success_rate, min_category_rate, forbid_regression)
    settings = replace(
        settings_from(options, order=order),
        poll_seconds=poll_seconds,
        stall_seconds=stall_timeout,
        retry_seconds=retry_seconds,
        max_slowdown=max_slowdown,
        in_session_of_training=drain_on_stdin_close and not leads_session(),
        deadline_seconds=deadline,
    )
    end = EndCondition(until_idle, once, _drain() if drain_on_stdin_close else None)
    outlets = Outlets(report_to, webhook, metrics_port, metrics_host, junit)
    result = _supervise(settings, end, outlets, AdoptedTasks(settings) if adopt else None)
    showing.print_summary(settings.place.reports)
    exit_for(result, settings.place.reports, manifest_gates, gates, fail_on_regression)


@app.command()
def rerun(
    path: PathArgument,
    checkpoints: Annotated[str | None, typer.Option(help="Steps, such as 250,500; default: all.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Also those that have a report; the old one is kept.")] = False,
    accept_unmarked: Annotated[
        bool, typer.Option("--accept-unmarked", help="Also checkpoints without a marker that are provably complete.")
    ] = False,
    base_model: BaseModel = None,
    device: Device = "auto",
    dtype: DtypeOption = Dtype.AUTO,
    suite: SuiteOption = None,
    weights_dir: WeightsDir = None,
    reports_dir: ReportsDir = None,
    decoding: DecodingOption = DecodingChoice.GREEDY,
    max_new_tokens: MaxNewTokens = None,
    order: OrderOption = Order.OLDEST,
    max_slowdown: MaxSlowdown = 0.02,
    deadline: Deadline = None,
    report_to: ReportTo = None,
    webhook: Webhook = None,
    metrics_port: MetricsPort = None,
    metrics_host: MetricsHost = LOOPBACK,
    junit: Junit = None,
    fail_on_regression: FailOnRegression = False,
    max_drop: MaxDrop = None,
    min_success_rate: MinSuccessRate = None,
    min_category_rate: MinCategoryRate = None,
    forbid_regression: ForbidRegression = None,
    keep_reports: KeepReports = None,
    allow_hub: AllowHub = False,
    log_json: LogJson = False,
    engine: Engine = None,
) -> None:
    """Evaluate old checkpoints, oldest first."""
    configure_logging(json_lines=log_json)
    options = Options(
        path, base_model, device, dtype.value, suite, weights_dir, reports_dir, decoding, max_new_tokens,
        allow_hub, engine, log_json, keep_reports,
    )  # fmt: skip
    manifest_gates = gates_of(options)
    gates = gates_given(manifest_gates, max_drop, min_success_rate, min_category_rate, forbid_regression)
    settings = replace(settings_from(options, order=order), max_slowdown=max_slowdown, deadline_seconds=deadline)
    source = rerun_tasks(settings, checkpoints, force=force, accept_unmarked=accept_unmarked)
    outlets = Outlets(report_to, webhook, metrics_port, metrics_host, junit)
    result = _supervise(settings, EndCondition(single_pass=True), outlets, source)
    showing.print_summary(settings.place.reports)
    exit_for(result, settings.place.reports, manifest_gates, gates, fail_on_regression)


@app.command()
def status(
    path: PathArgument,
    as_json: AsJson = False,
    base_model: BaseModel = None,
    device: Device = "auto",
    dtype: DtypeOption = Dtype.AUTO,
    suite: SuiteOption = None,
    weights_dir: WeightsDir = None,
    reports_dir: ReportsDir = None,
    decoding: DecodingOption = DecodingChoice.GREEDY,
    max_new_tokens: MaxNewTokens = None,
) -> None:
    """Show what is pending, what is running, and how every checkpoint ended."""
    configure_logging()
    options = Options(
        path, base_model, device, dtype.value, suite, weights_dir, reports_dir, decoding, max_new_tokens
    )  # fmt: skip
    showing.print_status(settings_from(options, order=Order.NEWEST, needs_model=False), as_json=as_json)


@app.command()
def compare(
    path: PathArgument,
    a: Annotated[str, typer.Argument(metavar="A", help="A step (250), base, or a version (0.1.0).")],
    b: Annotated[str, typer.Argument(metavar="B", help="What is compared with A.")],
    as_json: AsJson = False,
    fail_on_regression: Annotated[
        bool, typer.Option("--fail-on-regression", help="Exit with 3 when B is worse than A, or a gate refuses it.")
    ] = False,
    max_drop: MaxDrop = None,
    forbid_regression: ForbidRegression = None,
    base_model: BaseModel = None,
    device: Device = "auto",
    dtype: DtypeOption = Dtype.AUTO,
    suite: SuiteOption = None,
    weights_dir: WeightsDir = None,
    reports_dir: ReportsDir = None,
) -> None:
    """Compare two checkpoints, or two versions of the expert, from their reports."""
    configure_logging()
    options = Options(path, base_model, device, dtype.value, suite, weights_dir, reports_dir)
    gates = gates_given(gates_of(options), max_drop, forbid_regression=forbid_regression)
    entry, after = showing.print_comparison(options.place().reports, a, b, as_json=as_json)
    judging_cli.exit_for_comparison(after, entry, gates, fail_on_regression)


app.command()(judging_cli.gate)
app.command()(judging_cli.schema)


app.command()(export)
app.add_typer(suite_cli.app, name="suite")


@app.command()
def health(
    path: PathArgument,
    max_age: Annotated[float, typer.Option(min=1, help="Seconds since the evaluator last said it is alive.")] = (
        FRESH_SECONDS
    ),
    weights_dir: WeightsDir = None,
    reports_dir: ReportsDir = None,
) -> None:
    """Exit with 0 when this machine's evaluator of PATH is alive, else with 1. Made for container health checks."""
    configure_logging()
    place = Options(path, weights_dir=weights_dir, reports_dir=reports_dir).place()
    if not showing.print_health(place.reports, max_age):
        raise typer.Exit(EXIT_FAILURE)


app.command()(viewing_cli.history)
app.command()(viewing_cli.serve)


def _drain() -> IO[bytes]:
    """Standard input as the pipe that is closed when nothing more will come, set not to block."""
    os.set_blocking(0, False)
    return os.fdopen(os.dup(0), "rb", buffering=0)


def _supervise(
    settings: EvaluatorSettings,
    end: EndCondition,
    outlets: Outlets,
    source: TaskSource | None = None,
) -> RunResult:
    """Run a supervisor; the first SIGINT or SIGTERM ends it in order, the second by the handlers that were there."""
    with opened(outlets, settings) as observers:
        supervisor = Supervisor(settings, end, source=source, observers=observers)
        result = _run_until_signal(settings, supervisor)
    write_results(outlets, settings, result)
    return result


def _run_until_signal(settings: EvaluatorSettings, supervisor: Supervisor) -> RunResult:
    """The second signal finds the handlers that were there before."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def on_signal(number: int, frame: object) -> None:
        restore()
        supervisor.stop()

    for number in before:
        signal.signal(number, on_signal)
    try:
        with live_view(settings.place, wanted=is_wanted(json_lines=settings.log_json)):
            return supervisor.run()
    finally:
        restore()
        sys.stdout.flush()


def main() -> None:
    run_app(app, "sidestep-evaluator")
