"""A limit on what the evaluator uses at all: after each step it waits until that is a small enough part of the time."""

from __future__ import annotations

from collections.abc import Callable

REST_SECONDS = 0.25  # seconds between two questions whether there is still something to wait for


class DutyCycle:
    """Use of at most ``share`` of the time. ``used_seconds`` tells how much has been used since some beginning."""

    def __init__(
        self,
        share: float,
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
        used_seconds: Callable[[], float],
    ) -> None:
        self._share = share
        self._clock = clock
        self._sleep = sleep
        self._used_seconds = used_seconds
        self._counted_from = clock(), used_seconds()

    def restart(self) -> None:
        """Count from now on."""
        self._counted_from = self._clock(), self._used_seconds()

    def wait(self, is_needed: Callable[[], bool], check: Callable[[], None]) -> None:
        """Wait until what was used since the last call is no more than the share, or the limit is not needed any more.

        ``check`` is called while waiting and may raise.
        """
        since, used = self._counted_from
        until = since + (self._used_seconds() - used) / self._share
        while is_needed() and (left := until - self._clock()) > 0:
            self._sleep(min(left, REST_SECONDS))
            check()
        self.restart()
