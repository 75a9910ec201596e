"""``--metrics-port``: Prometheus metrics at /metrics, and /healthz for whoever restarts containers.

Everything is asked of the evaluator's own state at the moment of a scrape. /healthz answers 503 when the evaluator has
not gone round its loop for a minute: it hangs, or cannot get on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client import CollectorRegistry, exposition
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from sidestep.evaluator.results.report import Report
from sidestep.shared.errors import ConfigError
from sidestep.shared.protocol.outcomes import Outcome
from sidestep.shared.protocol.presence import FRESH_SECONDS, Presence

_STATES = ("starting", "waiting", "evaluating")


class Metrics(Collector):
    """An observer of the supervisor that Prometheus can collect from; used from two threads."""

    def __init__(self, expert: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._expert = expert
        self._clock = clock
        self._lock = threading.Lock()
        self._presence: Presence | None = None
        self._last_seen = clock()
        self._outcomes = dict.fromkeys(Outcome, 0)
        self._newest: Report | None = None

    def on_report(self, report: Report, waiting: Sequence[int]) -> None:
        with self._lock:
            self._outcomes[report.outcome] += 1
            newer = self._newest is None or (report.step or -1) >= (self._newest.step or -1)
            if report.evaluated and report.step is not None and newer:
                self._newest = report

    def on_state(self, presence: Presence) -> None:
        with self._lock:
            self._presence, self._last_seen = presence, self._clock()

    def is_healthy(self) -> bool:
        with self._lock:
            return self._clock() - self._last_seen <= FRESH_SECONDS

    def collect(self) -> Iterator[Metric]:
        with self._lock:
            presence, newest, outcomes = self._presence, self._newest, dict(self._outcomes)
            silent = self._clock() - self._last_seen
        yield self._gauge("sidestep_seconds_since_alive", "Seconds since the evaluator was last heard of", silent)
        state = GaugeMetricFamily("sidestep_state", "1 for the evaluator's state", labels=["expert", "state"])
        for name in _STATES:
            state.add_metric([self._expert, name], float(presence is not None and presence.state == name))
        yield state
        counter = CounterMetricFamily("sidestep_outcomes", "Checkpoints by outcome", labels=["expert", "outcome"])
        for outcome, count in outcomes.items():
            counter.add_metric([self._expert, outcome.value], count)
        yield counter
        if presence:
            yield self._gauge("sidestep_pending_checkpoints", "Checkpoints that wait for their turn", presence.pending)
            yield self._gauge("sidestep_cases_done", "Cases answered of the current checkpoint", presence.cases_done)
            yield self._gauge("sidestep_cases", "Cases of the current checkpoint", presence.cases)
        if newest and newest.step is not None:
            yield self._gauge("sidestep_newest_step", "Step of the newest evaluated checkpoint", newest.step)
            broken = len(newest.comparison.new_failures)
            yield self._gauge("sidestep_newly_broken_cases", "Cases it newly broke", broken)
            if newest.test_results.interval:
                rate = newest.test_results.success_rate
                yield self._gauge("sidestep_success_rate", "Its success rate, 0 to 1", rate)
            if newest.timing.latency_seconds is not None:
                latency = newest.timing.latency_seconds
                yield self._gauge("sidestep_latency_seconds", "From its marker to its report", latency)

    def _gauge(self, name: str, text: str, value: float) -> GaugeMetricFamily:
        family = GaugeMetricFamily(name, text, labels=["expert"])
        family.add_metric([self._expert], value)
        return family


@contextmanager
def serve_metrics(metrics: Metrics, port: int, host: str = "127.0.0.1") -> Iterator[int]:
    """Serve them in a thread; gives the port, which is a free one for 0. Raises ConfigError when it cannot be had."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(metrics)
    application = _application(metrics, registry)
    try:
        server = make_server(host, port, application, exposition.ThreadingWSGIServer, handler_class=_QuietHandler)
    except OSError as error:
        raise ConfigError(
            f"--metrics-port {port}: cannot listen on {host}: {error.strerror}", hint="choose another port"
        ) from error
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _application(metrics: Metrics, registry: CollectorRegistry) -> Callable[[dict[str, Any], Any], Iterable[bytes]]:
    exposed = exposition.make_wsgi_app(registry)

    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path == "/metrics":
            return list(exposed(environ, start_response))
        plain = [("Content-Type", "text/plain; charset=utf-8")]
        if path != "/healthz":
            start_response("404 Not Found", plain)
            return [b"there are /metrics and /healthz\n"]
        healthy = metrics.is_healthy()
        start_response("200 OK" if healthy else "503 Service Unavailable", plain)
        return [b"alive\n" if healthy else b"the evaluator has not been heard of for a minute\n"]

    return application


class _QuietHandler(WSGIRequestHandler):
    """Scrapes are not worth a line."""

    def log_message(self, format: str, *args: object) -> None:
        pass
