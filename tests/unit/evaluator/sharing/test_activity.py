"""Time at work, by training step."""

from __future__ import annotations

import pytest

from sidestep.evaluator.sharing.activity import Activity


def test_activity_knows_the_part_of_a_step() -> None:
    activity = Activity()
    activity.begin(1.0)
    activity.end(2.0)
    activity.begin(3.5)
    assert activity.share_of(0.0, 4.0, now=4.0) == pytest.approx(1.5 / 4)
    assert activity.share_of(2.0, 3.0, now=4.0) == 0.0
