from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sidestep.shared.protocol.checkpoint import (
    IncompleteCheckpoint,
    check_complete,
    files_that_matter,
    read_trainer_state,
)
from sidestep.shared.protocol.layout import INCOMPLETE_SENTINEL, ModelFolder
from tests.fakes.checkpoints import safetensors_bytes, write_checkpoint

WEIGHTS = "adapter_model.safetensors"


def _cut(folder: Path) -> None:
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[:-1])


def _grow(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes() + b"\0")


def _index(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-00002-of-00002.safetensors"}}')


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda folder: (folder / INCOMPLETE_SENTINEL).write_text("x"), "cut short"),
        (lambda folder: (folder / WEIGHTS).unlink(), "no weights"),
        (lambda folder: (folder / "trainer_state.json").unlink(), "trainer_state.json is missing"),
        (lambda folder: (folder / "trainer_state.json").write_text('{"global_step": 6}'), "of step 6"),
        (lambda folder: (folder / "trainer_state.json").write_text('{"global_st'), "cannot be read"),
        (lambda folder: (folder / "adapter_config.json").unlink(), "neither"),
        (lambda folder: (folder / "adapter_config.json").write_text("{"), "adapter_config.json cannot be read"),
        (_cut, "header says"),
        (_grow, "header says"),
        (lambda folder: (folder / WEIGHTS).write_bytes(b"abc"), "truncated"),
        (lambda folder: (folder / WEIGHTS).write_bytes((10**9).to_bytes(8, "little") + b"{}"), "truncated"),
        (lambda folder: (folder / WEIGHTS).write_bytes((2).to_bytes(8, "little") + b"[]"), "not a safetensors header"),
        (_index, "shard model-00002-of-00002.safetensors is missing"),
    ],
)
def test_incomplete(tmp_path: Path, damage: Callable[[Path], object], reason: str) -> None:
    folder = write_checkpoint(ModelFolder(tmp_path), 5)
    check_complete(folder)
    damage(folder)
    with pytest.raises(IncompleteCheckpoint, match=reason):
        check_complete(folder)


def test_only_safetensors_and_configuration_matter(tmp_path: Path) -> None:
    folder = write_checkpoint(ModelFolder(tmp_path), 5)
    for name in (
        "optimizer.pt",
        "training_args.bin",
        "rng_state.pth",
        "pytorch_model.bin",
        "READY.json",
        ".x.safetensors",
    ):
        (folder / name).write_bytes(b"")
    (folder / "extra.safetensors").write_bytes(safetensors_bytes())
    assert files_that_matter(folder) == [
        "adapter_config.json", WEIGHTS, "extra.safetensors", "trainer_state.json"
    ]  # fmt: skip


def test_trainer_state_names_the_last_loss(tmp_path: Path) -> None:
    (tmp_path / "trainer_state.json").write_text(
        '{"global_step": 5, "log_history": [{"loss": 3}, {"loss": 2, "learning_rate": 0.1}, {"eval_loss": 9}]}'
    )
    state = read_trainer_state(tmp_path)
    assert (state.step, state.metrics.train_loss, state.metrics.learning_rate) == (5, 2.0, 0.1)
