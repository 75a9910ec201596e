"""``sidestep-evaluator serve``: the dashboard over HTTP."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from sidestep.shared.commands.options import LOOPBACK, PORT, THIS_COMMAND, ExpertPath, FolderOptions


@Parameter(name="*", group=THIS_COMMAND)
@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """Where the dashboard can be called."""

    host: str = LOOPBACK
    """Address to listen on."""
    port: Annotated[int, Parameter(validator=PORT)] = 8321
    """Port; 0 takes a free one."""
    allow_host: Annotated[tuple[str, ...], Parameter(metavar="NAME")] = ()
    """A further name by which it may be called; repeatable."""


def serve(
    path: ExpertPath,
    /,
    *,
    address: ServeOptions = ServeOptions(),
    folders: FolderOptions = FolderOptions(),
) -> None:
    """Show the dashboard in a browser, with reports as they land; for this machine only, unless told otherwise."""
    from sidestep.evaluator.commands.build_settings import find_folders
    from sidestep.evaluator.serving.server import Address, serve

    reports = find_folders(path, folders).reports

    def announce(url: str) -> None:
        sys.stdout.write(f"dashboard of {reports.root}: {url} (Ctrl-C ends it)\n")
        sys.stdout.flush()

    serve(reports, Address(address.host, address.port, address.allow_host), announce)
