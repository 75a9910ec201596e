"""What a report says about times that a marker claims."""

from __future__ import annotations

import pytest

from sidestep.evaluator.working.committing import time_of_publishing
from sidestep.shared.protocol.marker import FileEntry, Marker


@pytest.mark.parametrize(
    ("claimed", "believed"),
    [
        (1.8e9, 1.8e9), (None, None), (float("nan"), None), (float("inf"), None), (-float("inf"), None), (1e18, None),
        (-5.0, None),
    ],
)  # fmt: skip
def test_only_a_time_is_taken_for_one(claimed: float | None, believed: float | None) -> None:
    marker = Marker(run_id="run", step=1, files=(FileEntry("a", 1, "0" * 64),), published_at=claimed)
    assert time_of_publishing(marker) == believed
