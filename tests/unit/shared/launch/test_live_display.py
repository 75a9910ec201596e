"""The view at the foot of a terminal: what it says, how it looks, and how others' lines pass above it."""

from __future__ import annotations

import io
import json
from pathlib import Path

from rich.console import Console

from sidestep.shared.launch.live_display import Row, Tail, picture, rows
from sidestep.shared.protocol.layout import ModelFolder
from sidestep.shared.protocol.pace import machine_name
from sidestep.shared.protocol.place import Place, find_place
from sidestep.shared.protocol.presence import PresenceFile


def _place(root: Path) -> Place:
    (root / "weights" / "tiny").mkdir(parents=True)
    (root / "manifest.json").write_text("{}")
    return find_place(root)


def test_nothing_yet(tmp_path: Path) -> None:
    assert rows(_place(tmp_path), 0, 0) == [Row("waiting", "for a training or an evaluator to begin")]


def test_training_and_evaluation(tmp_path: Path) -> None:
    place = _place(tmp_path)
    pace = {
        "machine": machine_name(), "process": 0, "process_space": "elsewhere", "written_at": 100.0, "training": True,
        "steps": [[90.0, 92.0], [92.0, 95.0]], "step": 43, "max_steps": 60,
    }  # fmt: skip
    ModelFolder(tmp_path / "weights" / "tiny").pace.write_text(json.dumps(pace))
    presence = PresenceFile(place.reports)
    presence.update(
        state="evaluating", checkpoint="checkpoint-40", cases_done=30, cases=48, passed=12, decided=25, cases_kept=10,
        began_at=1000.0, pending=2,
    )  # fmt: skip
    assert rows(place, 1010.0, 101.0) == [
        Row("training", "step 43 of 60 · 2.50 s a step", 43, 60),
        Row("evaluator", "checkpoint-40: 30 of 48 cases · 12 passed (48%) · 2.0 cases/s · 2 pending", 30, 48),
    ]
    presence.update(state="waiting", checkpoint=None, pending=0)
    assert rows(place, 1010.0, 500.0) == [Row("evaluator", "waiting")]


def test_the_picture_keeps_to_its_lines() -> None:
    lines = [Row("training", "step 43 of 60 · 2.50 s a step", 43, 60), Row("evaluator", "a\x1b[2Jb" + "x" * 200, 1, 2)]
    out = io.StringIO()
    Console(file=out, width=80, color_system=None).print(picture(lines))
    shown = [line.rstrip() for line in out.getvalue().splitlines()]
    assert shown[:2] == ["─" * 12, "training  ━━━━━━━━━━━━━━       step 43 of 60 · 2.50 s a step"]
    assert shown[2].startswith("evaluator ━━━━━━━━━━           a\\x1b[2Jbxxx")
    assert len(shown) == 3
    assert "\x1b" not in out.getvalue()


def test_lines_of_another_process_pass_whole_and_harmless(tmp_path: Path) -> None:
    path = tmp_path / "output"
    with path.open("a+b", buffering=0) as file:
        tail = Tail(file)
        file.write(b"one\ntw")
        assert tail.read_lines() == ["one"]
        file.write(b"o\n 10%|#\r 50%|##\r100%|####\nlast \x1b]0;x\x07\xff")
        assert tail.read_lines() == ["two", "100%|####"]
        assert tail.take_rest() == "last \\x1b]0;x\\x07�"
        assert tail.take_rest() == ""
