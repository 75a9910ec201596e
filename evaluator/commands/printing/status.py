"""What ``status`` prints: pending and running checkpoints, and how the others ended."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from pathlib import Path

from sidestep.evaluator.commands.build_settings import build_settings
from sidestep.evaluator.commands.printing.console import make_console
from sidestep.evaluator.commands.printing.summary import print_chart
from sidestep.evaluator.presenting.tables import StatusRow, status_table
from sidestep.evaluator.results.store import list_outcomes, read_reports
from sidestep.evaluator.settings import EvaluatorSettings
from sidestep.evaluator.suite.loading import load_suite
from sidestep.evaluator.watching.scan import scan
from sidestep.evaluator.watching.tasks import NO_SUITE, Conditions, pending_tasks
from sidestep.evaluator.working.attempts import count_finished_cases
from sidestep.shared.commands.choices import Order
from sidestep.shared.commands.options import EvaluationOptions, FolderOptions, SuiteOptions
from sidestep.shared.files import to_json
from sidestep.shared.launch.live_display import evaluator_row, training_rows
from sidestep.shared.protocol.layout import checkpoint_step
from sidestep.shared.protocol.presence import evaluators_present


def print_status(path: Path, suite: SuiteOptions, folders: FolderOptions, *, as_json: bool) -> None:
    """A table, or JSON. Raises a SidestepError where the settings are wrong."""
    evaluation = EvaluationOptions(suite=suite, folders=folders)
    settings = build_settings(path, evaluation, order=Order.NEWEST, needs_model=False)
    rows = status_rows(settings)
    running = evaluators_present(settings.place.reports)
    if as_json:
        evaluators = [asdict(evaluator) for evaluator in running]
        document = {"checkpoints": [asdict(row) for row in rows], "evaluators": evaluators}
        sys.stdout.write(to_json(document).decode())
        return
    console = make_console()
    console.print(status_table(rows) if rows else f"no published checkpoints in {settings.place.root}", highlight=False)
    print_chart(console, [stored.report for stored in read_reports(settings.place.reports) if not stored.archived])
    for row in training_rows(settings.place, time.monotonic()):
        console.print(f"{row.title}: {row.text}", highlight=False)
    for evaluator in running:
        row = evaluator_row(evaluator, time.time())
        console.print(f"evaluator {evaluator.pid} on {evaluator.host}: {row.text}", highlight=False, markup=False)
    if not running:
        console.print("no evaluator is running here", highlight=False)


def status_rows(settings: EvaluatorSettings) -> list[StatusRow]:
    """One row for every outcome and every pending checkpoint, by step."""
    reports = settings.place.reports
    outcomes = list_outcomes(reports)
    path = settings.suite_path
    suite_hash = load_suite(path, try_checks=False).sha256 if path.is_file() else NO_SUITE
    conditions = Conditions(suite_hash, settings.decoding.sha256)
    tasks = pending_tasks(scan(settings.place), conditions, {record.identity.id for record in outcomes}, settings.order)
    present = evaluators_present(reports)
    evaluating = {evaluator.checkpoint for evaluator in present if evaluator.state == "evaluating"}
    rows = [
        StatusRow(
            record.checkpoint,
            record.outcome.value,
            record.reason or "",
            record.identity.key.model_folder,
            record.expert_version,
        )
        for record in outcomes
    ]
    for task in tasks:
        done = count_finished_cases(reports, task.identity)
        state = "evaluating" if task.identity.label in evaluating else "pending"
        detail = f"{done} cases finished" if done else ""
        version = task.candidate.marker.run.expert_version if task.candidate and task.candidate.marker else ""
        rows.append(StatusRow(task.identity.label, state, detail, task.identity.key.model_folder, version))
    return sorted(rows, key=_position)


def _position(row: StatusRow) -> tuple[str, int]:
    step = checkpoint_step(row.checkpoint)
    return row.version, -1 if step is None else step
