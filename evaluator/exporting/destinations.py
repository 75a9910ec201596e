"""Where curves can go: the names of ``--report-to``, the packages they need, and how one is opened."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, cast

from sidestep.evaluator.exporting.points import Point, Run
from sidestep.shared.errors import ConfigError
from sidestep.shared.protocol.layout import ReportsFolder

NONE, ALL = "none", "all"


class Destination(Protocol):
    """A tracker. ``send`` raises when it did not accept everything; it is then called again with the same points."""

    def send(self, run: Run, points: Sequence[Point], tracker_id: str) -> None:
        """Take new or changed ``points`` of ``run``, which has everything else that was sent before."""
        ...

    def close(self) -> None:
        """Flush and let go."""
        ...


@dataclass(frozen=True)
class _Kind:
    module: str
    requires: tuple[str, ...]  # importable names; the extra that brings them has the destination's name


_KINDS = {
    "tensorboard": _Kind("sidestep.evaluator.exporting.tensorboard_events", ("tensorboard",)),
    "wandb": _Kind("sidestep.evaluator.exporting.wandb_runs", ("wandb",)),
    "mlflow": _Kind("sidestep.evaluator.exporting.mlflow_runs", ("mlflow",)),
    "trackio": _Kind("sidestep.evaluator.exporting.trackio_runs", ("trackio",)),
}
_KNOWN = f"known are {', '.join(_KINDS)}, {ALL}, {NONE}"


def chosen_destinations(text: str | Sequence[str] | None) -> tuple[str, ...]:
    """The destinations of ``tensorboard,wandb``, ``all`` (every installed one) or ``none``.

    Raises ConfigError for a name that is not known, and for one whose package is not installed.
    """
    if text is not None and not isinstance(text, str) and not all(isinstance(name, str) for name in text):
        raise ConfigError(f"report_to {text!r} is not a list of names", hint=_KNOWN)
    parts = text.split(",") if isinstance(text, str) else list(text or ())
    names = list(dict.fromkeys(part.strip().lower() for part in parts if part.strip()))
    if names in ([], [NONE]):
        return ()
    if names == [ALL]:
        return tuple(name for name in _KINDS if not _missing_packages(name))
    unknown = [name for name in names if name not in _KINDS]
    if unknown:
        raise ConfigError(f"--report-to does not know {', '.join(unknown)}", hint=_KNOWN)
    for name in names:
        if missing := _missing_packages(name):
            raise ConfigError(
                f"--report-to {name} needs the package {', '.join(missing)}", hint=f"pip install 'sidestep[{name}]'"
            )
    return tuple(names)


def open_destination(name: str, reports: ReportsFolder) -> Destination:
    """Import the destination's package and connect it; whatever that raises is the destination's failure."""
    module = importlib.import_module(_KINDS[name].module)
    return cast(Destination, module.create(reports))


def _missing_packages(name: str) -> list[str]:
    return [package for package in _KINDS[name].requires if importlib.util.find_spec(package) is None]
