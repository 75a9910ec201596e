"""Runs the dashboard's server until Ctrl-C."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import uvicorn

from sidestep.evaluator.presenting.dashboard.cache import PAGE_DATA_NAME, cache_folder
from sidestep.evaluator.reporting.derived_files import refresh_derived_files
from sidestep.evaluator.serving.app import create_app
from sidestep.evaluator.serving.changes import Changes
from sidestep.shared.errors import ConfigError, ReportsFolderError
from sidestep.shared.logs import get_logger
from sidestep.shared.protocol.layout import ReportsFolder

log = get_logger("evaluator.serve")

GRACE_SECONDS = 3


@dataclass(frozen=True)
class Address:
    """Where to listen, and under which further names requests are accepted. Port 0 takes a free one."""

    host: str = "127.0.0.1"
    port: int = 8321
    names: Sequence[str] = ()

    @property
    def is_loopback(self) -> bool:
        return self.host in ("127.0.0.1", "localhost")


def serve(reports: ReportsFolder, address: Address, say: Callable[[str], None]) -> None:
    """Serve until stopped. Raises ReportsFolderError or ConfigError when that cannot begin."""
    if not address.is_loopback and not address.names:
        raise ConfigError(
            f"listening on {address.host} lets others reach the reports",
            hint="say by which name with --allow-host NAME, for example this machine's host name",
        )
    refresh_once(reports)
    app = create_app(reports, Changes(reports), hosts=address.names)
    config = uvicorn.Config(
        app, host=address.host, port=address.port, log_level="warning", server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )  # fmt: skip
    try:
        socket = config.bind_socket()
    except SystemExit as error:  # uvicorn has said why
        raise ConfigError(
            f"port {address.port} on {address.host} cannot be taken", hint="choose another with --port, 0 for any"
        ) from error
    say(f"http://{'localhost' if address.is_loopback else address.names[0]}:{socket.getsockname()[1]}/")
    uvicorn.Server(config).run(sockets=[socket])


def refresh_once(reports: ReportsFolder) -> None:
    """Refresh the derived files once; a folder that cannot be written will do if an evaluator has left a dashboard."""
    try:
        reports.root.mkdir(parents=True, exist_ok=True)
        refresh_derived_files(reports)
    except OSError as error:
        if not (cache_folder(reports) / PAGE_DATA_NAME).is_file():
            raise ReportsFolderError(
                f"{reports.root} cannot be written, and no dashboard has been made there yet: {error}",
                hint="run this once as a user who may write there",
            ) from error
        log.warning("%s cannot be written: showing what the evaluator left", reports.root)
