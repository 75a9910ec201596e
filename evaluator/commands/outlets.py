"""Where results go besides the reports folder, for one run of the evaluator: what was asked, opened and closed.

``report_to`` may be given in the manifest's ``evaluation`` block, as it goes to trackers that the user's own
environment names. Addresses and files may not: a manifest can come from other people.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from sidestep.evaluator.exporting.destinations import chosen_destinations
from sidestep.evaluator.exporting.exporter import Exporter, ExportSettings
from sidestep.evaluator.exporting.junit import write_junit
from sidestep.evaluator.exporting.prometheus import Metrics, serve_metrics
from sidestep.evaluator.exporting.step_summary import append_step_summary
from sidestep.evaluator.exporting.webhook import checked_url
from sidestep.evaluator.results.store import read_reports
from sidestep.evaluator.settings import EvaluatorSettings
from sidestep.evaluator.working.state import Observer
from sidestep.evaluator.working.supervisor import RunResult
from sidestep.shared.commands.options import OutletOptions
from sidestep.shared.logs import get_logger
from sidestep.shared.protocol.manifest import Manifest

log = get_logger("evaluator")


def export_settings(
    report_to: str | None, webhook: str | None, manifest: Manifest | None = None, *, log_json: bool = False
) -> ExportSettings:
    """Where curves and summaries go; ``report_to`` None leaves it to the manifest.

    Raises ConfigError with what is wrong and what to do.
    """
    wanted = manifest.evaluation.get("report_to") if report_to is None and manifest else report_to
    return ExportSettings(chosen_destinations(wanted), checked_url(webhook) if webhook else None, log_json)


@contextmanager
def open_outlets(outlets: OutletOptions, settings: EvaluatorSettings) -> Iterator[Sequence[Observer]]:
    """The supervisor's observers; at the end, exports are given time to finish."""
    exports = export_settings(outlets.report_to, outlets.webhook, settings.manifest, log_json=settings.log_json)
    with ExitStack() as stack:
        observers: list[Observer] = []
        if exports.wanted:
            observers.append(stack.enter_context(Exporter(settings.place.reports, exports)))
        if outlets.metrics_port is not None:
            metrics = Metrics(settings.expert_name)
            port = stack.enter_context(serve_metrics(metrics, outlets.metrics_port, outlets.metrics_host))
            log.info("metrics: http://%s:%d/metrics", outlets.metrics_host, port)
            observers.append(metrics)
        yield observers


def write_results(outlets: OutletOptions, settings: EvaluatorSettings, result: RunResult) -> None:
    """JUnit XML of the newest checkpoint that this run brought to an end, and the step summary of all of them."""
    ended = {report.checkpoint for report in result.committed}
    current = [stored.report for stored in read_reports(settings.place.reports) if not stored.archived]
    reports = [report for report in current if report.checkpoint in ended]
    reports.sort(key=lambda report: -1 if report.step is None else report.step)
    if outlets.junit:
        write_junit(outlets.junit, reports[-1:])
    append_step_summary(reports)
