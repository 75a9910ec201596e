"""Which tests run in one process when pytest runs in several (``--dist=loadgroup``), and with which signals.

Those that share what is slow run in one: a browser, a process that has imported what trainings need; otherwise the
tests of a file, which share its fixtures.
"""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

# A shell starts background jobs, and all that they start, with SIGINT ignored: tests of Ctrl-C must not depend on it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

_TESTS = Path(__file__).parent
# Run trainings, most of them forked from one process that has imported torch, transformers and TRL.
_TRAININGS = (
    "faults/test_killed_save.py", "integration/test_host.py", "integration/test_somebodys_training.py",
    "integration/test_training_examples.py", "integration/test_versions.py",
)  # fmt: skip


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.add_marker(pytest.mark.xdist_group(_group(item.path.relative_to(_TESTS))))


def _group(path: Path) -> str:
    if path.parts[0] == "browser":
        return "browser"
    return "trainings" if str(path) in _TRAININGS else str(path)
