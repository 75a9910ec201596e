"""Options of where results go besides the reports folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from sidestep.shared.commands.options.panels import LOOPBACK, OUTLETS, PORT


@Parameter(name="*", group=OUTLETS)
@dataclass(frozen=True, kw_only=True)
class OutletOptions:
    """Where results go. Trackers find their servers as their own settings say."""

    report_to: str | None = None
    """Send curves to tensorboard, wandb, mlflow, trackio (with commas), all or none."""
    webhook: str | None = None
    """POST a JSON summary of each outcome to this address."""
    metrics_port: Annotated[int | None, Parameter(validator=PORT)] = None
    """Serve Prometheus metrics and /healthz on this port; 0 takes a free one."""
    metrics_host: str = LOOPBACK
    """Address to serve them on; the default is for this machine only."""
    junit: Path | None = None
    """Write JUnit XML of the newest evaluated checkpoint to this file."""
