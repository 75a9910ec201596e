"""Running an evaluator: what ``watch`` and ``rerun`` do once they have been told everything."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import IO

from sidestep.evaluator.commands.build_settings import build_settings, manifest_gates
from sidestep.evaluator.commands.gate_options import exit_if_refused, gates_with
from sidestep.evaluator.commands.outlets import open_outlets, write_results
from sidestep.evaluator.commands.printing.summary import print_summary
from sidestep.evaluator.commands.rerun import RerunOptions
from sidestep.evaluator.commands.watch import WatchOptions
from sidestep.evaluator.settings import EvaluatorSettings
from sidestep.evaluator.watching.adoption import AdoptedTasks
from sidestep.evaluator.watching.rerun import rerun_tasks
from sidestep.evaluator.watching.tasks import TaskSource
from sidestep.evaluator.working.run_end import EndCondition
from sidestep.evaluator.working.supervisor import RunResult, Supervisor
from sidestep.shared.commands.choices import Order
from sidestep.shared.commands.options import EvaluationOptions
from sidestep.shared.launch.live_display import is_wanted, show_live_display
from sidestep.shared.launch.processes import leads_session
from sidestep.shared.logs import configure_logging


def evaluate_published(path: Path, watching: WatchOptions, evaluation: EvaluationOptions) -> None:
    """What ``watch`` does. Raises a SidestepError, or SystemExit when a gate refuses the newest checkpoint."""
    configure_logging(json_lines=evaluation.log.log_json)
    settings = replace(
        build_settings(path, evaluation, order=Order.NEWEST),
        in_session_of_training=watching.drain_on_stdin_close and not leads_session(),
    )
    end = EndCondition(watching.until_idle, watching.once, _open_drain() if watching.drain_on_stdin_close else None)
    _evaluate(settings, evaluation, end, AdoptedTasks(settings) if watching.adopt else None)


def evaluate_again(path: Path, which: RerunOptions, evaluation: EvaluationOptions) -> None:
    """What ``rerun`` does. Raises as above."""
    configure_logging(json_lines=evaluation.log.log_json)
    settings = build_settings(path, evaluation, order=Order.OLDEST)
    source = rerun_tasks(settings, which.checkpoints, force=which.force, accept_unmarked=which.accept_unmarked)
    _evaluate(settings, evaluation, EndCondition(single_pass=True), source)


def _evaluate(
    settings: EvaluatorSettings, evaluation: EvaluationOptions, end: EndCondition, source: TaskSource | None
) -> None:
    from_manifest = manifest_gates(settings.place)
    asked = gates_with(from_manifest, evaluation.gates)
    with open_outlets(evaluation.outlets, settings) as observers:
        supervisor = Supervisor(settings, end, source=source, observers=observers)
        result = _run_until_signal(settings, supervisor)
    write_results(evaluation.outlets, settings, result)
    print_summary(settings.place.reports)
    # The manifest's gates decide only with --fail-on-regression, so that the exit code keeps its meaning for those who
    # did not ask; gates among the options are asking.
    if evaluation.fail.fail_on_regression:
        exit_if_refused(result, settings.place.reports, asked)
    elif asked != from_manifest:
        exit_if_refused(result, settings.place.reports, asked.model_copy(update={"refuse_worse": False}))
    result.raise_if_pending()


def _open_drain() -> IO[bytes]:
    """Standard input as the pipe that is closed when nothing more will come, set not to block."""
    os.set_blocking(0, False)
    return os.fdopen(os.dup(0), "rb", buffering=0)


def _run_until_signal(settings: EvaluatorSettings, supervisor: Supervisor) -> RunResult:
    """Run the supervisor. The first SIGINT or SIGTERM ends it in order, the second finds the handlers of before."""
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
        with show_live_display(settings.place, wanted=is_wanted(json_lines=settings.log_json)):
            return supervisor.run()
    finally:
        restore()
        sys.stdout.flush()
