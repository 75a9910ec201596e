"""The demo starts from a fresh copy of the example and never removes what is not its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def demo(load_script: Callable[[str], ModuleType]) -> ModuleType:
    return load_script("demo")


def test_fresh_run_is_a_copy_of_the_example(demo: ModuleType, tmp_path: Path, shop: Path) -> None:
    run = tmp_path / "runs" / "demo"
    demo.prepare(run)
    for name in ("manifest.json", "datasets/train.jsonl", "tests/test_cases.json", "tests/shop.sql"):
        assert (run / name).read_bytes() == (shop / name).read_bytes()


def test_earlier_run_is_removed_with_notice(
    demo: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    demo.prepare(tmp_path / "demo")
    (tmp_path / "demo" / "weights").mkdir()
    demo.prepare(tmp_path / "demo")
    assert not (tmp_path / "demo" / "weights").exists()
    assert f"removing the earlier run in {tmp_path / 'demo'}" in capsys.readouterr().out


def test_a_folder_of_somebody_elses_is_refused(demo: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("precious")
    with pytest.raises(SystemExit, match="not an earlier run of the demo"):
        demo.prepare(tmp_path)
    assert (tmp_path / "manifest.json").read_text() == "precious"


def test_it_becomes_sidestep_up(demo: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    became: list[list[str]] = []
    monkeypatch.setattr(demo.os, "execv", lambda program, command: became.append([str(program), *command]))
    run = tmp_path / "demo"
    monkeypatch.setattr(demo.sys, "argv", ["demo.py", "--run", str(run), "--base-model", "m", "--", "--max-steps", "1"])
    demo.main()
    program, *command = became[0]
    assert Path(program).name == "sidestep"
    assert command == ["sidestep", "up", str(run), "--base-model", "m", "--max-slowdown", "0.5", "--max-steps", "1"]
