"""PublishCheckpoint in somebody's own script: the options of a Trainer, two processes, an evaluator of its own."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.somebodys_training import SomebodysTraining
from tests.fakes.tiny_model import build_tiny_model

# --multi_gpu is what makes accelerate start one process per rank itself; the script then asks for CPU and gloo.
ACCELERATE = (
    sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "2", "--num_machines", "1",
    "--multi_gpu", "--mixed_precision", "no", "--dynamo_backend", "no",
    "--main_process_port", "0",
)  # fmt: skip


@pytest.fixture(scope="module")
def base_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def training(tmp_path: Path, base_model: Path) -> SomebodysTraining:
    return SomebodysTraining(tmp_path, base_model)


def test_two_processes_one_marker_for_each_save_and_one_evaluator(training: SomebodysTraining) -> None:
    """accelerate launch, gloo: both ranks carry the callback; one publishes and starts an evaluator, not a rank."""
    _, log = training.run(
        *ACCELERATE, arguments={"save_total_limit": 2, "ddp_backend": "gloo"},
        publisher={"suite": str(training.suite), "launch": True}, launch={"arguments": TestLaunch.FAKE},
    )  # fmt: skip
    assert len(list(training.out.root.glob("*/rng_state_1.pth"))) == 2, log  # the second rank was there
    assert sorted(path.parent.name for path in training.out.root.glob("*/READY.json")) == training.folders()
    assert set(training.expert.outcomes()) == {"base", "checkpoint-2", "checkpoint-4", "checkpoint-6"}
    assert set(Counter(training.expert.answered()).values()) == {1}
    assert log.count("published checkpoint-") == 3
    assert log.count("the evaluator runs beside this training") == 1


@pytest.mark.parametrize(
    ("arguments", "steps", "folders"),
    [
        ({"save_total_limit": 1}, [2, 4, 6], ["checkpoint-6"]),
        ({"save_only_model": True}, [2, 4, 6], ["checkpoint-2", "checkpoint-4", "checkpoint-6"]),
        (
            {"load_best_model_at_end": True, "eval_strategy": "steps", "eval_steps": 2, "save_total_limit": 1,
             "metric_for_best_model": "loss", "greater_is_better": True},
            [2, 4, 6], ["checkpoint-2"],  # the last one goes at the end of training, as it is not the best
        ),
    ],
    ids=["save_total_limit", "save_only_model", "load_best_model_at_end"],
)  # fmt: skip
def test_options_of_a_trainer(
    training: SomebodysTraining, arguments: dict[str, object], steps: list[int], folders: list[str]
) -> None:
    training.train(arguments=arguments)
    assert training.published() == steps
    assert training.folders() == folders
    assert training.evaluated() == {f"checkpoint-{step}": "evaluated" for step in steps}


def test_a_save_on_sigterm_is_published(training: SomebodysTraining) -> None:
    """transformers' own save on SIGTERM calls no callback's on_save."""
    training.train(arguments={"max_steps": 2000, "save_steps": 2000, "enable_jit_checkpoint": True}, sigterm_at=3)
    [step] = training.published()
    assert training.folders() == [f"checkpoint-{step}"]
    assert step < 2000
    assert training.evaluated() == {f"checkpoint-{step}": "evaluated"}
    training.train(arguments={"max_steps": step + 2, "save_steps": step + 2}, resume=str(training.out.checkpoint(step)))
    assert set(training.evaluated()) == {f"checkpoint-{step}", f"checkpoint-{step + 2}"}


@pytest.mark.parametrize(
    ("sigterm", "steps"), [({"sigterm_at": 4}, [3, 4]), ({"sigterm_at": 3, "sigterm_after_save": True}, [3])]
)
def test_a_save_on_sigterm_waits_for_the_one_before_to_be_held(
    training: SomebodysTraining, sigterm: dict[str, Any], steps: list[int]
) -> None:
    """It rotates away, or saves again, a checkpoint that is still being published."""
    arguments = {"max_steps": 2000, "save_steps": 3, "save_total_limit": 1, "enable_jit_checkpoint": True}
    training.train(arguments=arguments, slow_hash=1.0, **sigterm)
    assert training.folders() == [f"checkpoint-{steps[-1]}"]
    assert sorted(set(training.published())) == steps  # saved again, it is held again: its trainer state differs
    assert training.evaluated() == {f"checkpoint-{step}": "evaluated" for step in steps}


class TestLaunch:
    FAKE = ("--engine", "tests.fakes.engine:create", "--poll-seconds", "0.2")

    def test_the_evaluator_runs_beside_and_finishes_after(self, training: SomebodysTraining) -> None:
        output, log = training.run(
            publisher={"suite": str(training.suite), "launch": True}, launch={"arguments": self.FAKE}
        )
        assert json.loads(output.splitlines()[-1])["step"] == 6
        assert "the evaluator runs beside this training" in log
        assert "the evaluator has finished" in log
        assert set(training.expert.outcomes().values()) == {"evaluated"}
        assert set(training.expert.outcomes()) == {"base", "checkpoint-2", "checkpoint-4", "checkpoint-6"}

    def test_neither_a_failing_evaluator_nor_a_failing_script_takes_the_other_down(
        self, training: SomebodysTraining
    ) -> None:
        _, log = training.run(
            publisher={"suite": str(training.suite), "launch": True}, launch={"arguments": ["--no-such-option"]}
        )
        assert "Unknown option: --no-such-option" in log
        assert training.published() == [2, 4, 6]
        _, log = training.run(
            code=1, fail_after=True, arguments={"max_steps": 2}, launch={"arguments": self.FAKE},
            publisher={"suite": str(training.suite), "launch": True},
        )  # fmt: skip
        assert "the script failed after its training" in log
        assert {"base", "checkpoint-2", "checkpoint-4", "checkpoint-6"} <= set(training.expert.outcomes())
