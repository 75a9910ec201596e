"""``watch --adopt`` and checkpoints that no evaluator can load, with the real command and a table for a model."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidestep.shared.protocol.layout import ModelFolder
from tests.fakes.checkpoints import write_checkpoint
from tests.fakes.expert import TIMEOUT_SECONDS, FakeExpert, labels, read_until


@pytest.fixture
def expert(tmp_path: Path) -> Iterator[FakeExpert]:
    with FakeExpert.create(tmp_path / "expert") as expert:
        yield expert


def _write_shards(model: ModelFolder, step: int) -> Path:
    folder = model.checkpoint(step)
    (folder / "pytorch_model_fsdp_0").mkdir(parents=True)
    (folder / "pytorch_model_fsdp_0" / "__0_0.distcp").write_bytes(b"shard")
    (folder / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    return folder


def test_only_with_adopt_and_each_checkpoint_once(expert: FakeExpert) -> None:
    write_checkpoint(expert.model, 10)
    broken = write_checkpoint(expert.model, 20)
    (broken / "adapter_model.safetensors").write_bytes(b"short")
    _write_shards(expert.model, 30)
    expert.publish(40)
    expert.run("watch", "--once")
    assert set(expert.outcomes()) == {"base", "checkpoint-40"}
    before = {path: path.stat().st_mtime_ns for path in expert.model.root.rglob("*")}
    done = expert.run("watch", "--once", "--adopt")
    assert "checkpoint-20 is not adopted yet: adapter_model.safetensors" in done.stderr
    expected = {
        "base": "evaluated",
        "checkpoint-10": "evaluated",
        "checkpoint-30": "rejected",
        "checkpoint-40": "evaluated",
    }
    assert expert.outcomes() == expected
    assert "cannot be evaluated because its weights are FSDP shards" in expert.report("checkpoint-30")["reason"]
    expert.run("watch", "--once", "--adopt")
    assert set(Counter(expert.answered()).values()) == {1}
    assert not expert.reports.archive.exists()
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert not list(expert.reports.adopted.glob("*/.outbox/*"))


def test_rotated_away_while_another_is_evaluated_it_is_evaluated_nevertheless(expert: FakeExpert) -> None:
    expert.hold.touch()
    expert.script(hold_after={"30": 2})
    for step in (10, 20, 30):
        write_checkpoint(expert.model, step)
    process = expert.start("watch", "--adopt", "--until-idle", "1", "--poll-seconds", "0.2")
    read_until(process, "checkpoint-30: 2 of 4")
    for step in (10, 20, 30):
        shutil.rmtree(expert.model.checkpoint(step))
    expert.hold.unlink()
    _, log = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == 0, log
    assert expert.outcomes() == dict.fromkeys(["base", "checkpoint-10", "checkpoint-20", "checkpoint-30"], "evaluated")
    assert [label for label in labels(expert.answered()) if label != "base"] == ["30", "20", "10"]


def test_adopted_but_destroyed_before_its_turn_is_vanished(expert: FakeExpert) -> None:
    """The hold is gone, too: somebody cleaned up. Still exactly one outcome."""
    expert.hold.touch()
    expert.script(hold_after={"20": 2})
    for step in (10, 20):
        write_checkpoint(expert.model, step)
    process = expert.start("watch", "--adopt", "--until-idle", "1", "--poll-seconds", "0.2")
    read_until(process, "checkpoint-20: 2 of 4")
    [held] = expert.reports.adopted.glob("*/.outbox/10-*")
    (held / "adapter_model.safetensors").unlink()
    shutil.rmtree(expert.model.checkpoint(10))
    expert.hold.unlink()
    _, log = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == 0, log
    assert expert.outcomes() == {"base": "evaluated", "checkpoint-10": "vanished", "checkpoint-20": "evaluated"}


def test_a_plain_output_folder_that_does_not_exist_yet(tmp_path: Path) -> None:
    expert = FakeExpert.create(tmp_path / "expert")
    suite = str(expert.root / "tests" / "test_cases.json")
    out = ModelFolder(tmp_path / "out")
    expert.root = out.root
    process = expert.start(
        "watch", "--adopt", "--suite", suite, "--drain-on-stdin-close", "--poll-seconds", "0.2", stdin=subprocess.PIPE
    )
    read_until(process, "waiting for")
    write_checkpoint(out, 10)
    read_until(process, "adopted")
    assert process.stdin is not None
    process.stdin.close()
    process.stdin = None
    _, log = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == 0, log
    outcome = json.loads((out.root / "training_reports" / "checkpoint-10" / "outcome.json").read_text())
    assert outcome["outcome"] == "evaluated"
