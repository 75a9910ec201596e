from __future__ import annotations

from pathlib import Path

import pytest

from sidestep.shared.protocol.layout import ModelFolder, checkpoint_step, model_folder_name
from sidestep.shared.protocol.place import find_place, reports_of


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("checkpoint-0", 0),
        ("checkpoint-250", 250),
        ("checkpoint-007", None),
        ("checkpoint-20.x", None),
        ("checkpoint--1", None),
        ("checkpoint-1\n", None),
        ("checkpoint-" + "9" * 12, 999_999_999_999),
        ("checkpoint-" + "9" * 13, None),
        ("../checkpoint-1", None),
        ("checkpoint-٣", None),
    ],
)
def test_checkpoint_step(name: str, step: int | None) -> None:
    assert checkpoint_step(name) == step


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("Qwen3-0.6B", "qwen3-06b"),
        ("F:/Node/hivellm/expert/models/Qwen3-0.6B", "qwen3-06b"),
        ("C:\\models\\Qwen3-0.6B\\", "qwen3-06b"),
        ("/models/SmolLM2_135M.Instruct/", "smollm2-135minstruct"),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", "smollm2-135m-instruct"),
    ],
)
def test_model_folder_name(name: str, folder: str) -> None:
    assert model_folder_name(name) == folder


def test_place_of_an_expert_its_weights_and_its_model_folder_is_one_place(tmp_path: Path) -> None:
    expert = tmp_path / "shop"
    model = expert / "weights" / "tiny"
    (model / "checkpoint-5").mkdir(parents=True)
    (expert / "manifest.json").write_text("{}")
    places = [find_place(expert), find_place(expert / "weights"), find_place(model)]
    assert {place.reports.root for place in places} == {expert / "weights" / "training_reports"}
    assert {tuple(folder.root for folder in place.model_folders()) for place in places} == {(model,)}
    assert all(place.expert and place.expert.root == expert for place in places)


def test_output_folder_of_a_plain_script_keeps_its_reports_inside(tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "checkpoint-5").mkdir(parents=True)
    place = find_place(out)
    assert place.reports.root == out / "training_reports" == reports_of(ModelFolder(out)).root
    assert [folder.root for folder in place.model_folders()] == [out]


def test_weights_folder_that_does_not_exist_yet(tmp_path: Path) -> None:
    place = find_place(tmp_path / "later" / "weights")
    assert place.model_folders() == []
    assert place.root == tmp_path / "later" / "weights"


def test_reports_and_hidden_folders_are_no_model_folders(tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    for name in ("tiny", "training_reports", ".cache"):
        (weights / name).mkdir(parents=True)
    (weights / "link").symlink_to(weights / "tiny")
    assert [folder.root.name for folder in find_place(weights).model_folders()] == ["tiny"]
