"""The save on SIGTERM is prepared for where transformers makes one, and nothing is touched where it does not."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from sidestep.trainer.publishing.sigterm_save import before_saves_on_sigterm


class Manager:
    """As transformers' CheckpointManager: its method is the handler."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def handle(self, number: int, frame: object) -> None:
        self.done.append("signal")

    def execute_jit_checkpoint(self) -> None:
        self.done.append("save")


@pytest.fixture(autouse=True)
def _handler_is_restored() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def test_each_save_is_prepared_for() -> None:
    manager = Manager()
    signal.signal(signal.SIGTERM, manager.handle)
    before_saves_on_sigterm(lambda: manager.done.append("prepare"))
    signal.raise_signal(signal.SIGTERM)
    manager.execute_jit_checkpoint()
    assert manager.done == ["signal", "prepare", "save"]


@pytest.mark.parametrize("handler", [signal.SIG_DFL, signal.SIG_IGN, lambda number, frame: None, [].append])
def test_other_handlers_are_left_alone(handler: object) -> None:
    signal.signal(signal.SIGTERM, handler)  # type: ignore[arg-type]
    before_saves_on_sigterm(lambda: pytest.fail("nothing saves"))
    assert signal.getsignal(signal.SIGTERM) is handler
