"""One object must not stop the others: whatever is in a weights folder, what is published there is found."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidestep.evaluator.watching import scan as scan_module
from sidestep.evaluator.watching.scan import scan
from sidestep.evaluator.watching.tasks import ProblemLog
from sidestep.shared.protocol.checkpoint import checkpoint_steps
from sidestep.shared.protocol.layout import MARKER_NAME, ModelFolder, ReportsFolder, WeightsFolder
from sidestep.shared.protocol.marker import InvalidMarker, Marker, parse_marker
from sidestep.shared.protocol.outbox import entry_paths
from sidestep.shared.protocol.place import Place
from tests.fakes.checkpoints import publish_checkpoint, write_checkpoint


@pytest.fixture
def place(tmp_path: Path) -> Place:
    weights = WeightsFolder(tmp_path / "weights")
    model = ModelFolder(weights.root / "tiny")
    model.root.mkdir(parents=True)
    publish_checkpoint(model, 10)
    return Place(weights, ReportsFolder(weights.root / "training_reports"), None)


def _model(place: Place) -> ModelFolder:
    return ModelFolder(place.weights.root / "tiny")


def _steps(place: Place) -> list[int]:
    return [candidate.step for candidate in scan(place) if candidate.sources and not candidate.rejected]


def _socket(place: Place) -> None:
    folder = _model(place).checkpoint(20)
    folder.mkdir()
    home = Path.cwd()
    os.chdir(folder)  # the name of a socket has room for about a hundred bytes
    try:
        socket.socket(socket.AF_UNIX).bind(MARKER_NAME)
    finally:
        os.chdir(home)


def _device(place: Place) -> None:
    folder = _model(place).checkpoint(20)
    folder.mkdir()
    os.mkfifo(folder / MARKER_NAME)


def _linked_loop(place: Place) -> None:
    other = ModelFolder(place.weights.root / "other")
    other.root.mkdir()
    other.outbox.symlink_to(other.outbox)


def _name_of_bytes(place: Place) -> None:
    folder = place.weights.root / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    publish_checkpoint(ModelFolder(folder), 20)


def _name_with_newline(place: Place) -> None:
    publish_checkpoint(ModelFolder(place.weights.root / "a\nb"), 20)


def _marker_is_a_folder(place: Place) -> None:
    (_model(place).checkpoint(20) / MARKER_NAME).mkdir(parents=True)


def _marker_of_deep_lists(place: Place) -> None:
    folder = _model(place).checkpoint(20)
    folder.mkdir()
    (folder / MARKER_NAME).write_bytes(b"[" * 200_000 + b"]" * 200_000)


def _entry_is_a_file(place: Place) -> None:
    (_model(place).outbox / f"20-{'0' * 12}").write_text("in the way")


def _tombstone_is_a_folder(place: Place) -> None:
    (_model(place).outbox / f"20-{'0' * 12}.skipped").mkdir()


def _checkpoint_is_a_file(place: Place) -> None:
    _model(place).checkpoint(20).write_text("in the way")


HOSTILE = [
    _socket, _device, _linked_loop, _name_of_bytes, _name_with_newline, _marker_is_a_folder, _marker_of_deep_lists,
    _entry_is_a_file, _tombstone_is_a_folder, _checkpoint_is_a_file,
]  # fmt: skip


@pytest.mark.parametrize("put", HOSTILE, ids=lambda put: put.__name__.strip("_"))
def test_what_is_published_is_found_beside(place: Place, put: Callable[[Place], None]) -> None:
    put(place)
    assert _steps(place) == [10]


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_a_problem_of_its_own(place: Place) -> None:
    other = ModelFolder(place.weights.root / "other")
    publish_checkpoint(other, 20)
    other.root.chmod(0)
    problems: list[Path] = []
    try:
        found = scan(place, lambda path, reason: problems.append(path))
    finally:
        other.root.chmod(0o755)
    assert [candidate.step for candidate in found] == [10]
    assert problems


def test_a_mistake_of_ours_costs_one_entry(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    publish_checkpoint(_model(place), 20)

    def break_on_20(content: bytes) -> Marker:
        marker = parse_marker(content)
        if marker.step == 20:
            raise RuntimeError("nobody thought of this")
        return marker

    monkeypatch.setattr(scan_module, "parse_marker", break_on_20)
    problems: list[str] = []
    found = scan(place, lambda path, reason: problems.append(reason))
    assert problems == ["RuntimeError: nobody thought of this"]
    assert 10 in [candidate.step for candidate in found]


def test_another_trainings_outbox_is_not_ours(place: Place) -> None:
    """Its checkpoints would be evaluated as this model's, and deleted when they are done."""
    mine = ModelFolder(place.weights.root / "mine")
    mine.root.mkdir()
    mine.outbox.symlink_to(_model(place).outbox)
    assert [candidate.model_folder for candidate in scan(place)] == ["tiny"]
    with pytest.raises(OSError, match="symbolic link"):
        entry_paths(mine)


def test_a_checkpoint_published_during_the_scan_is_held_when_its_marker_is_seen(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The publisher writes the outbox, then the marker, and rotation follows: whoever saw the marker finds the hold."""
    write_checkpoint(_model(place), 20)

    def publish_after_listing(model: ModelFolder) -> list[int]:
        listed = checkpoint_steps(model)
        publish_checkpoint(model, 20)
        return listed

    monkeypatch.setattr(scan_module, "checkpoint_steps", publish_after_listing)
    [found] = [candidate for candidate in scan(place) if candidate.step == 20]
    assert [source.parent.name for source in found.sources] == [".outbox", "tiny"]


def test_a_problem_is_said_once_until_it_changes(caplog: pytest.LogCaptureFixture) -> None:
    problems = ProblemLog()
    for reason in ("is closed", "is closed", "is open"):
        problems.add(Path("somewhere"), reason)
    assert [record.getMessage() for record in caplog.records] == [
        "somewhere is passed over: is closed", "somewhere is passed over: is open",
    ]  # fmt: skip


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
_FIELDS = st.sampled_from(
    ["schema_version", "run_id", "step", "expert_name", "base_model", "base_revision", "adapter_type", "files",
     "train_loss", "learning_rate", "seconds_per_step", "published_at", "not_evaluable", "prompt_template"]
)  # fmt: skip


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(field=_FIELDS, value=_VALUES)
def test_a_marker_with_any_value_in_a_field_is_a_marker_or_is_not(place: Place, field: str, value: Any) -> None:
    document = json.loads((_model(place).checkpoint(10) / MARKER_NAME).read_bytes())
    content = json.dumps({**document, field: value}).encode()
    try:
        marker = parse_marker(content)
    except InvalidMarker as error:
        assert str(error)
    else:
        assert marker.to_bytes()


@settings(max_examples=300, deadline=None)
@given(content=st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_are_a_marker_or_are_not(content: bytes) -> None:
    with pytest.raises(InvalidMarker):
        parse_marker(content)
