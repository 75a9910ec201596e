"""``sidestep up``: what it passes on to trainer and evaluator, and what each of them finds by itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sidestep.shared.launch import co_launch
from sidestep.shared.launch.command import program
from tests.fakes.command_lines import PROGRAMS, parse

Started = dict[str, Any]


@pytest.fixture
def up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Started]:
    """Runs ``sidestep up`` on an expert without starting anything; what would have been started."""
    (tmp_path / "manifest.json").write_text(
        json.dumps({"name": "shop", "version": "1.0.0", "base_models": [{"name": "somebody/model"}]})
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SIDESTEP_BASE_MODEL", raising=False)

    def run(*arguments: str) -> Started:
        started: Started = {}

        class NothingStarted:
            def __init__(self, trainer: list[str], evaluator: list[str], **more: Any) -> None:
                started.update(trainer=trainer[3:], evaluator=evaluator[3:], **more)

            def run(self) -> co_launch.Ended:
                return co_launch.Ended(trainer=0, evaluator=0, interrupted=False)

        monkeypatch.setattr(co_launch, "CoLaunch", NothingStarted)
        with pytest.raises(SystemExit) as ended:
            program.run(["up", ".", *arguments])
        assert ended.value.code == 0
        parse(["sidestep-trainer", *started["trainer"]])
        parse(["sidestep-evaluator", *started["evaluator"]])
        return started

    return run


def test_nothing_said_is_nothing_passed_on(up: Callable[..., Started]) -> None:
    started = up()
    assert started["trainer"] == ["."]
    assert started["evaluator"] == ["watch", ".", "--drain-on-stdin-close"]
    assert started["one_session"] is False


def test_each_gets_its_own_options_and_both_get_what_both_need(up: Callable[..., Started]) -> None:
    started = up(
        "--base-model", "m", "--device", "cpu", "--output-dir", "w", "--log-json", "--max-steps", "3",
        "--set", "seed=1", "--set", "bf16=true", "--dtype", "int8", "--fail-on-regression", "--max-slowdown", "0",
        "--forbid-regression", "a", "--forbid-regression=b", "--retry-seconds", "0.1",
    )  # fmt: skip
    both = ["--base-model=m", "--device=cpu", "--weights-dir=w", "--log-json=true"]
    assert sorted(started["trainer"]) == sorted([".", *both, "--max-steps=3", "--set=seed=1", "--set=bf16=true"])
    assert sorted(started["evaluator"]) == sorted(
        [
            *("watch", ".", "--drain-on-stdin-close", *both, "--dtype=int8", "--fail-on-regression=true"),
            *("--max-slowdown=0", "--forbid-regression=a", "--forbid-regression=b", "--retry-seconds=0.1"),
        ]
    )
    assert started["one_session"] is True


def test_files_and_environment_are_read_by_each_alone_but_for_the_table_up(
    up: Callable[..., Started], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sidestep.toml").write_text(
        'base_model = "m"\nmax_slowdown = 0\n[up]\ndevice = "cpu"\n[trainer]\nmax_steps = 3\n'
    )
    monkeypatch.setenv("SIDESTEP_UP_MAX_NEW_TOKENS", "7")
    monkeypatch.setenv("SIDESTEP_EPOCHS", "2")
    started = up()
    assert started["trainer"] == [".", "--device=cpu"]
    assert started["evaluator"] == ["watch", ".", "--drain-on-stdin-close", "--device=cpu", "--max-new-tokens=7"]
    assert started["one_session"] is True


def test_the_trainer_finds_its_options_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sidestep.toml").write_text(
        'device = "cpu"\nsave_steps = 5\n[trainer]\nsave_steps = 7\n[trainer.set]\n'
        'learning_rate = 1e-4\noptim = "sgd"\n'
    )
    monkeypatch.setenv("SIDESTEP_BASE_MODEL", "m")
    trainer = PROGRAMS["sidestep-trainer"]
    trainer.app.parse_args([".", "--max-steps", "9"], exit_on_error=False, print_error=False)
    given = {key: setting.value for key, setting in trainer.sources.settings.items() if setting.texts}
    assert given == {
        "base_model": "m", "device": "cpu", "max_steps": 9, "save_steps": 7,
        "set": ("learning_rate=0.0001", 'optim="sgd"'),
    }  # fmt: skip
