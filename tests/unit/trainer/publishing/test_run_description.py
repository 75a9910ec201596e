"""What a marker says about a training that nobody has described."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from sidestep.shared.protocol.marker import RunDescription
from sidestep.trainer.publishing.run_description import describe_run

MANIFEST = {"name": "shop", "version": "2", "base_model": {"name": "tiny"}}
MODEL = SimpleNamespace(config=SimpleNamespace(_name_or_path="/models/tiny"), dtype="torch.bfloat16")


@pytest.mark.parametrize("output_dir", [".", "weights", "weights/tiny"])
def test_the_expert_is_the_one_around_the_output_folder(tmp_path: Path, output_dir: str) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps(MANIFEST))
    assert describe_run(tmp_path / output_dir, MODEL) == RunDescription(
        "shop", "2", base_model="/models/tiny", adapter_type="full", dtype="bfloat16"
    )


def test_without_a_manifest_the_folder_gives_the_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert describe_run(tmp_path / "out", None) == RunDescription("out", "unknown", adapter_type="full")
    (tmp_path / "manifest.json").write_text('{"short_name": "a web page"}')
    assert describe_run(tmp_path / "out", None).expert_name == "out"
    assert "name and version are unknown" in caplog.text


@pytest.mark.parametrize(("use_dora", "name"), [(False, "lora"), (True, "dora")])
def test_the_kind_of_adapter(tmp_path: Path, use_dora: bool, name: str) -> None:
    adapter = SimpleNamespace(peft_type=SimpleNamespace(value="LORA"), use_dora=use_dora)
    model = SimpleNamespace(peft_config={"default": adapter})
    assert describe_run(tmp_path, model).adapter_type == name
