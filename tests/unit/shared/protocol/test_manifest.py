"""Whose manifest is whose: one rule, for whatever folder of an expert the two processes are pointed at."""

from __future__ import annotations

from pathlib import Path

import pytest

from sidestep.shared.protocol.layout import ExpertFolder
from sidestep.shared.protocol.manifest import find_expert
from sidestep.shared.protocol.place import find_place


@pytest.fixture
def expert(tmp_path: Path) -> Path:
    root = tmp_path / "experts" / "shop"
    (root / "weights" / "tiny" / "checkpoint-5").mkdir(parents=True)
    (root / "manifest.json").write_text("{}")
    return root


@pytest.mark.parametrize("folder", [".", "weights", "weights/tiny", "weights/later", "out"])
def test_both_processes_find_the_expert_from_any_of_its_folders(expert: Path, folder: str) -> None:
    assert find_expert(expert / folder) == ExpertFolder(expert)
    assert find_place(expert / folder).expert == ExpertFolder(expert)


def test_the_expert_is_the_same_before_and_after_the_first_checkpoint(expert: Path) -> None:
    """Of an output folder right inside the expert's."""
    before = find_place(expert / "out")
    (expert / "out" / "checkpoint-5").mkdir(parents=True)
    after = find_place(expert / "out")
    assert before.expert == after.expert == ExpertFolder(expert)
    assert before.reports == after.reports


def test_the_nearest_manifest_counts(expert: Path) -> None:
    (expert.parent / "manifest.json").write_text("{}")
    assert find_expert(expert / "weights") == ExpertFolder(expert)


def test_without_a_manifest_there_is_no_expert(tmp_path: Path) -> None:
    assert find_expert(tmp_path / "out" / "run") is None
    assert find_place(tmp_path / "out" / "run").expert is None
