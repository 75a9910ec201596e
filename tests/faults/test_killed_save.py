"""Fault 2: kill -9 of the trainer at every point of a save. Real processes, a real Trainer, a tiny model."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path

import pytest

from tests.fakes.killed_save import POINTS
from tests.fakes.somebodys_training import SomebodysTraining
from tests.fakes.tiny_model import build_tiny_model


@pytest.fixture(scope="module")
def base_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, base_model: Path) -> dict[str, float]:
    """Loss of each step where nobody is killed."""
    return SomebodysTraining(tmp_path_factory.mktemp("undisturbed"), base_model).train()


@pytest.mark.parametrize("point", POINTS)
def test_the_curve_goes_on_and_each_checkpoint_is_evaluated_once(
    tmp_path: Path, base_model: Path, undisturbed: dict[str, float], point: str
) -> None:
    training = SomebodysTraining(tmp_path, base_model)
    training.train(code=-signal.SIGKILL, kill=point)
    whole = point in ("saved", "staging", "held", "marked")
    # An evaluator that looks in between takes what was handed over, and nothing that is half there.
    handed_over = {"checkpoint-2": "evaluated"}
    if point in ("held", "marked"):
        handed_over["checkpoint-4"] = "evaluated"
    assert training.evaluated() == handed_over

    last = training.out.checkpoint(4 if whole else 2)
    losses = training.train(resume=str(last))
    assert losses == undisturbed  # the state that was resumed from brings the losses before it along
    assert training.evaluated() == dict.fromkeys(["checkpoint-2", "checkpoint-4", "checkpoint-6"], "evaluated")
    assert set(Counter(training.expert.answered()).values()) == {1}
    assert not training.expert.reports.archive.exists()
    assert not [path for path in training.out.outbox.iterdir() if path.name.startswith("tmp-")]


def test_a_resumed_run_that_saves_a_waiting_step_again_leaves_the_waiting_one_whole(
    tmp_path: Path, base_model: Path
) -> None:
    """Resumed from before the last checkpoint: two different checkpoints of one step, each with its own outcome."""
    training = SomebodysTraining(tmp_path, base_model)
    training.train(arguments={"max_steps": 4})
    training.train(arguments={"max_steps": 4, "max_grad_norm": 0.01}, resume=str(training.out.checkpoint(2)))
    assert training.published() == [2, 4, 4]
    assert training.evaluated() == {"checkpoint-2": "evaluated", "checkpoint-4": "evaluated"}
    [archived] = training.expert.reports.archive.glob("*/*/checkpoint-4*/outcome.json")
    assert '"evaluated"' in archived.read_text()
