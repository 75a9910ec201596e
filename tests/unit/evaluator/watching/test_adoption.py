"""Adopting checkpoints that nobody publishes: when they are whole, never before, and then for good."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from sidestep.evaluator.watching.adoption import Adopter
from sidestep.evaluator.watching.scan import Candidate, scan
from sidestep.evaluator.watching.unmarked import UnmarkedDescription
from sidestep.shared.protocol.layout import INCOMPLETE_SENTINEL, ModelFolder
from sidestep.shared.protocol.outbox import OutboxLimits
from sidestep.shared.protocol.place import find_place
from tests.fakes.checkpoints import publish_checkpoint, safetensors_bytes, write_checkpoint

WEIGHTS = "adapter_model.safetensors"
SETTLE = 10.0


class Polls:
    """An adopter of one output folder, and a clock that only moves between polls."""

    def __init__(self, root: Path, limits: OutboxLimits | None = None) -> None:
        self.model = ModelFolder(root / "out")
        self.model.root.mkdir()
        self.now = 0.0
        self.done: set[str] = set()
        self.place = find_place(self.model.root)
        self.limits = limits
        self.restart()

    def restart(self) -> None:
        self.adopter = Adopter(
            self.place,
            UnmarkedDescription("shop", "1.0"),
            limits=self.limits,
            settle_seconds=SETTLE,
            clock=lambda: self.now,
        )

    def __call__(self, *, after: float = SETTLE) -> list[int]:
        """Steps in their folders that are adopted after another poll."""
        return [candidate.step for candidate in self.candidates(after=after)]

    def candidates(self, *, after: float = SETTLE) -> list[Candidate]:
        self.now += after
        return self.adopter.poll(set(), lambda folder, marker: marker.files_hash in self.done)

    def held(self) -> list[int]:
        return [candidate.step for candidate in scan(self.place) if candidate.sources]


@pytest.fixture
def polls(tmp_path: Path) -> Polls:
    return Polls(tmp_path)


def test_taken_at_the_second_poll_and_held_from_then_on(polls: Polls) -> None:
    folder = write_checkpoint(polls.model, 10)
    before = {path: (path.lstat().st_mtime_ns, path.lstat().st_mode) for path in (folder, *folder.iterdir())}
    assert polls() == []
    assert polls.adopter.is_settling()
    assert polls.held() == []
    assert polls() == [10]
    assert not polls.adopter.is_settling()
    [candidate] = scan(polls.place)
    assert candidate.marker is not None
    assert (candidate.marker.run_id, candidate.marker.run.expert_name) == ("unmarked", "shop")
    assert candidate.marker.metrics.train_loss == 1.99
    assert {path: (path.lstat().st_mtime_ns, path.lstat().st_mode) for path in (folder, *folder.iterdir())} == before
    shutil.rmtree(folder)  # rotated away
    assert polls() == []
    assert polls.held() == [10]
    assert (candidate.sources[0] / WEIGHTS).stat().st_size > 0


def test_two_polls_in_a_row_are_not_enough(polls: Polls) -> None:
    write_checkpoint(polls.model, 10)
    polls()
    assert polls(after=SETTLE / 2) == []
    assert polls(after=SETTLE / 2) == [10]


def test_rotated_away_between_the_polls_is_not_taken(polls: Polls) -> None:
    folder = write_checkpoint(polls.model, 10)
    polls()
    shutil.rmtree(folder)
    assert polls() == []
    assert not polls.adopter.is_settling()
    assert polls.held() == []


def test_written_slowly_is_taken_when_the_last_file_is_whole(polls: Polls) -> None:
    """Each stage stays for three polls; only the last one is a checkpoint."""
    folder = polls.model.checkpoint(10)
    folder.mkdir()
    whole, state = safetensors_bytes(b"\1" * 4096), json.dumps({"global_step": 10, "log_history": []})
    config = '{"peft_type": "LORA"}'
    stages = [
        *((WEIGHTS, whole[:length]) for length in (0, 4, 60, 1000, len(whole) - 1, len(whole))),
        ("adapter_config.json", config[:5].encode()),
        ("adapter_config.json", config.encode()),
        ("trainer_state.json", b""),
        ("trainer_state.json", state[:10].encode()),
    ]
    for name, content in stages:
        (folder / name).write_bytes(content)
        assert [polls(), polls(), polls()] == [[], [], []], (name, len(content))
        assert not polls.adopter.is_settling()
    (folder / "trainer_state.json").write_text(state)
    assert [polls(), polls()] == [[], [10]]


def test_a_file_that_still_changes_starts_the_wait_again(polls: Polls) -> None:
    folder = write_checkpoint(polls.model, 10)
    polls()
    (folder / "rng_state_1.pth").write_bytes(b"of another rank, after the main process's last file")
    assert [polls(), polls()] == [[], [10]]


def test_overwritten_in_place_is_taken_again_when_its_last_file_is_new(polls: Polls) -> None:
    folder = write_checkpoint(polls.model, 10)
    polls()
    [first] = polls.candidates()
    (folder / WEIGHTS).unlink()  # what safetensors does: a new file under the old name
    (folder / WEIGHTS).write_bytes(safetensors_bytes(b"\7" * 16))
    assert [polls(), polls(), polls()] == [
        [],
        [],
        [],
    ]  # whole by its header, but is the save finished?
    (folder / "trainer_state.json").unlink()
    (folder / "trainer_state.json").write_text(json.dumps({"global_step": 10, "log_history": []}))
    assert polls() == []
    [second] = polls.candidates()
    assert second.key != first.key
    assert {candidate.key for candidate in scan(polls.place)} == {first.key, second.key}


@pytest.mark.parametrize(
    "missing", ["model-00002-of-00002.safetensors", "model.safetensors.index.json"], ids=["shard", "index"]
)
def test_every_shard_and_the_index_must_be_there(polls: Polls, missing: str) -> None:
    folder = polls.model.checkpoint(10)
    folder.mkdir()
    shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    files = {name: safetensors_bytes() for name in shards}
    index = {"weight_map": {f"weight.{number}": name for number, name in enumerate(shards)}}
    files["model.safetensors.index.json"] = json.dumps(index).encode()
    files["config.json"] = b"{}"
    files["trainer_state.json"] = b'{"global_step": 10}'
    for name, content in files.items():
        if name != missing:
            (folder / name).write_bytes(content)
    assert [polls(), polls()] == [[], []]
    (folder / missing).write_bytes(files[missing])
    assert [polls(), polls()] == [[], [10]]


def test_an_index_that_names_a_shard_of_another_count_is_not_taken(polls: Polls) -> None:
    folder = polls.model.checkpoint(10)
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(safetensors_bytes())
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-00003-of-00003.safetensors"}}')
    (folder / "config.json").write_text("{}")
    (folder / "trainer_state.json").write_text('{"global_step": 10}')
    assert [polls(), polls()] == [[], []]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (INCOMPLETE_SENTINEL, "save on SIGTERM"),
        ("trainer_state.json", '{"global_step": 20}'),
        ("trainer_state.json", '{"global_step": 10'),
        ("adapter_config.json", "{"),
    ],
)
def test_what_is_not_complete_is_never_taken(polls: Polls, name: str, content: str) -> None:
    folder = write_checkpoint(polls.model, 10)
    (folder / name).write_text(content)
    assert [polls(), polls(), polls()] == [[], [], []]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("pytorch_model_fsdp_0/__0_0.distcp", "FSDP shards (pytorch_model_fsdp_0)"),
        ("global_step10/mp_rank_00_model_states.pt", "DeepSpeed shards (global_step10)"),
        ("pytorch_model.bin", "pickles (pytorch_model.bin)"),
    ],
)
def test_shards_are_taken_with_the_reason_why_they_cannot_be_evaluated(polls: Polls, name: str, reason: str) -> None:
    folder = polls.model.checkpoint(10)
    (folder / name).parent.mkdir(parents=True)
    (folder / name).write_bytes(b"shard")
    assert [polls(), polls()] == [[], []]  # no trainer_state.json yet
    (folder / "trainer_state.json").write_text('{"global_step": 10}')
    polls()
    [candidate] = polls.candidates()
    assert candidate.rejected is not None
    assert candidate.rejected.startswith("cannot be evaluated because its weights are")
    assert reason in candidate.rejected


def test_what_has_an_outcome_is_recognised_after_a_restart_and_not_held_again(polls: Polls) -> None:
    write_checkpoint(polls.model, 10)
    polls()
    [candidate] = polls.candidates()
    polls.done.add(candidate.key.files_hash)
    shutil.rmtree(polls.place.reports.adopted)
    polls.restart()
    assert [polls(), polls()] == [[], [10]]
    assert polls.held() == []


def test_a_held_one_survives_a_restart_although_its_folder_is_gone(polls: Polls) -> None:
    folder = write_checkpoint(polls.model, 10)
    assert [polls(), polls()] == [[], [10]]
    shutil.rmtree(folder)
    polls.restart()
    assert polls.held() == [10]


def test_over_the_limit_the_oldest_is_dropped_with_a_tombstone(tmp_path: Path) -> None:
    polls = Polls(tmp_path, OutboxLimits(entries=1))
    for step in (10, 20):
        folder = write_checkpoint(polls.model, step)
        assert [polls(), polls()] == [[], [step]]
        shutil.rmtree(folder)
    assert [(candidate.step, bool(candidate.skipped)) for candidate in scan(polls.place)] == [(10, True), (20, False)]


def test_what_has_a_marker_is_the_publishers(polls: Polls) -> None:
    publish_checkpoint(polls.model, 10)
    marked = {(candidate.model_folder, candidate.step) for candidate in scan(polls.place)}
    polls.now += SETTLE
    assert polls.adopter.poll(marked, lambda folder, marker: False) == []
    assert not polls.adopter.is_settling()
