"""The evaluator beside somebody's training, with small programs in its place: started, left alone, given its time."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from transformers import TrainerControl, TrainerState

from sidestep.shared.errors import BaseModelError, ConfigError
from sidestep.trainer.publishing.launch import EvaluatorProcess, base_model_of, evaluator_environment
from sidestep.trainer.publishing.publisher import PublishCheckpoint

REPOSITORY = Path(__file__).resolve().parents[4]
# Ends when its input closes; on SIGTERM it says so. The line on its log tells that it is ready.
DRAINS = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: (print("stopped", flush=True), sys.exit(0)))
print("ready", flush=True)
sys.stdin.read()
print("drained", flush=True)
"""
NEVER_DONE = DRAINS + "while True: signal.pause()\n"
# A script in whose last moments the evaluator is waited for.
SCRIPT = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a terminal, however the tests were started
from pathlib import Path
from sidestep.shared.logs import configure_logging
from sidestep.trainer.publishing.launch import EvaluatorProcess, wait_at_exit
configure_logging()
code, log, seconds, end = sys.argv[1:]
process = EvaluatorProcess([sys.executable, "-c", code], Path(log), "the command")
wait_at_exit(process, float(seconds))
while "ready" not in Path(log).read_text(): pass
print("training", flush=True)
exec(end)
"""


def _script(tmp_path: Path, code: str, seconds: float, end: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, code, str(tmp_path / "log"), str(seconds), end], cwd=REPOSITORY, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("end", "status", "said"),
    [("pass", 0, "drained"), ("raise ValueError", 1, "drained"), ("raise KeyboardInterrupt", -2, "stopped")],
    ids=["done", "failed", "ctrl-c"],
)
def test_how_a_script_ends_decides_what_becomes_of_the_evaluator(
    tmp_path: Path, end: str, status: int, said: str
) -> None:
    process = _script(tmp_path, DRAINS, 60, end)
    _, log = process.communicate(timeout=60)
    assert process.returncode == status, log
    assert said in (tmp_path / "log").read_text()


def test_waiting_is_bounded(tmp_path: Path) -> None:
    # Not left to the waiting itself: on a busy machine half a second may be too short for it.
    drain_first = "process.finish()\nwhile 'drained' not in Path(log).read_text(): pass"
    process = _script(tmp_path, NEVER_DONE, 0.5, drain_first)
    _, log = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "not waiting for the evaluator any longer (after 0 s). Its checkpoints stay published: the command" in log
    assert (tmp_path / "log").read_text() == "ready\ndrained\nstopped\n"


def test_ctrl_c_ends_the_waiting_and_not_the_script(tmp_path: Path) -> None:
    process = _script(tmp_path, NEVER_DONE, 600, "pass")
    assert process.stderr is not None
    assert any("waiting for the evaluator" in line for line in iter(process.stderr.readline, ""))
    process.send_signal(signal.SIGINT)
    _, log = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "(interrupted)" in log
    assert "stopped" in (tmp_path / "log").read_text()


def test_a_killed_script_leaves_an_evaluator_that_drains(tmp_path: Path) -> None:
    process = _script(tmp_path, DRAINS, 600, "import signal; signal.pause()")
    assert process.stdout is not None
    assert process.stdout.readline() == "training\n"
    process.kill()
    process.communicate()
    while "drained" not in (tmp_path / "log").read_text():
        pass


def test_forks_of_the_training_do_not_keep_the_evaluator_from_draining(tmp_path: Path) -> None:
    """Data loader workers are such forks, and may outlive the training."""
    end = "import os, signal; child = os.fork()\nif not child: signal.pause()\nprocess.wait(60); os.kill(child, 9)"
    process = _script(tmp_path, DRAINS, 60, end)
    _, log = process.communicate(timeout=60)
    assert "the evaluator has finished" in log, log


def test_an_early_end_is_reported_with_the_end_of_its_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    process = EvaluatorProcess([sys.executable, "-c", "print('no such model'); exit(1)"], tmp_path / "log", "command")
    while not caplog.records:
        pass
    assert "ended early (exit status 1); training goes on" in caplog.text
    assert "no such model" in caplog.text
    assert process.wait(10) == 1


def test_ranks_and_shadows_are_kept_from_the_evaluator() -> None:
    given = {
        "RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "x", "MASTER_PORT": "1", "PATH": "/bin",
        "TORCHELASTIC_RUN_ID": "x", "ACCELERATE_USE_CPU": "true", "PYTHONPATH": "/theirs", "CUDA_VISIBLE_DEVICES": "1",
    }  # fmt: skip
    environment = evaluator_environment(given)
    assert environment == {
        "PATH": "/bin", "CUDA_VISIBLE_DEVICES": "1", "PYTHONSAFEPATH": "1", "PYTHONPATH": f"{REPOSITORY}:/theirs"
    }  # fmt: skip


def test_the_base_model_is_what_the_training_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SIDESTEP_BASE_MODEL", raising=False)
    for name in ("loaded", "adapted", "given"):
        (tmp_path / name).mkdir()
    loaded = SimpleNamespace(config=SimpleNamespace(_name_or_path=str(tmp_path / "loaded")))
    assert base_model_of(loaded, None) == str(tmp_path / "loaded")
    loaded.peft_config = {"default": SimpleNamespace(base_model_name_or_path=str(tmp_path / "adapted"))}
    assert base_model_of(loaded, None) == str(tmp_path / "adapted")
    assert base_model_of(loaded, tmp_path / "given") == str(tmp_path / "given")
    with pytest.raises(BaseModelError, match="does not say which base model"):
        base_model_of(SimpleNamespace(), None)
    with pytest.raises(BaseModelError, match="neither a folder nor in the hub's local cache"):
        base_model_of(SimpleNamespace(), "nobody/nothing")


def test_test_cases_are_wanted_before_training_begins(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.json is no file"):
        PublishCheckpoint(suite=tmp_path / "none.json", launch=True)
    with pytest.raises(ConfigError, match="is no file"):
        PublishCheckpoint(launch=True)


def _begin(publisher: PublishCheckpoint, output_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    arguments: Any = SimpleNamespace(output_dir=str(output_dir), use_cpu=True, device="cpu")
    with caplog.at_level("INFO"):
        publisher.on_train_begin(arguments, TrainerState(), TrainerControl(), model=SimpleNamespace())


def test_published_only_says_how_to_evaluate(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "suite.json").write_text("{}")
    publisher = PublishCheckpoint(suite=tmp_path / "suite.json")
    _begin(publisher, tmp_path / "out", caplog)
    assert f"sidestep-evaluator watch {tmp_path / 'out'} --suite {tmp_path / 'suite.json'}" in caplog.text
    assert publisher.evaluator is None


def test_an_evaluator_that_cannot_start_is_said_and_no_more(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "suite.json").write_text("{}")
    publisher = PublishCheckpoint(suite=tmp_path / "suite.json", launch=True)
    _begin(publisher, tmp_path / "out", caplog)
    assert "the evaluator is not started" in caplog.text
    assert "training goes on and publishes its checkpoints" in caplog.text
