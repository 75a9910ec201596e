"""Each tracker's real library, offline or local, read back through its own API.

Checkpoints come newest first, with restarts in between: every tracker must end with one value for each step.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from sidestep.evaluator.exporting.sending import Sender
from sidestep.shared.protocol.layout import ReportsFolder
from tests.unit.evaluator.exporting.conftest import BROKEN, RATES, commit, commit_newest_first
from tests.unit.evaluator.exporting.wandb_files import history_rows

REPOSITORY = Path(__file__).resolve().parents[4]


def test_tensorboard(reports: ReportsFolder, offline: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    commit_newest_first(reports, "tensorboard")
    (run,) = (reports.root / "tensorboard").iterdir()
    events = EventAccumulator(str(run))
    events.Reload()

    def curve(name: str) -> list[tuple[int, float]]:
        return [(point.step, point.value) for point in events.Scalars(f"sidestep/{name}")]

    assert curve("success_rate") == sorted(RATES.items())
    assert curve("newly_broken") == sorted(BROKEN.items())
    assert len(curve("success_rate_low")) == len(RATES)
    (table,) = events.Tensors("sidestep/newly_broken_cases")
    assert table.step == 30
    assert b"| a |" in table.tensor_proto.string_val[0]


def test_mlflow(reports: ReportsFolder, offline: Path) -> None:
    from mlflow.tracking import MlflowClient

    commit_newest_first(reports, "mlflow")
    client = MlflowClient(f"sqlite:///{reports.root / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("shop").experiment_id])

    def curve(name: str) -> list[tuple[int, float]]:
        history = client.get_metric_history(run.info.run_id, f"sidestep/{name}")
        return sorted((point.step, point.value) for point in history)

    assert curve("success_rate") == sorted(RATES.items())
    assert curve("newly_broken") == sorted(BROKEN.items())
    assert run.info.status == "FINISHED"
    assert run.data.tags["sidestep.version"] == "1"
    (table,) = client.list_artifacts(run.info.run_id, "newly_broken")
    assert table.path == "newly_broken/checkpoint-30.md"
    assert not (REPOSITORY / "mlflow.db").exists()


def test_trackio(reports: ReportsFolder, offline: Path) -> None:
    program = f"""
from pathlib import Path
from sidestep.shared.protocol.layout import ReportsFolder
from tests.unit.evaluator.exporting.conftest import commit_newest_first
commit_newest_first(ReportsFolder(Path({str(reports.root)!r})), "trackio")
import json, trackio
from trackio.sqlite_storage import SQLiteStorage
(run,) = trackio.Api().runs("shop")
print("RESULT" + json.dumps([run.name, SQLiteStorage.get_logs("shop", run.name, run_id=run.id)], default=str))
"""  # a process of its own: trackio looks for its folder when it is imported
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    name, rows = json.loads(done.stdout.rpartition("RESULT")[2])
    assert name.startswith("shop 1 abcdef01")

    def curve(metric: str) -> list[tuple[int, float]]:
        return sorted((row["step"], row[f"sidestep/{metric}"]) for row in rows if f"sidestep/{metric}" in row)

    assert curve("success_rate") == sorted(RATES.items())
    assert curve("newly_broken") == sorted(BROKEN.items())


def test_wandb_offline(reports: ReportsFolder, offline: Path) -> None:
    import wandb

    commit_newest_first(reports, "wandb")
    wandb.teardown()  # finishing a run returns before its file is closed; the end of W&B's service does not
    files = sorted((reports.root / "wandb").glob("offline-run-*/run-*.wandb"))
    assert len({path.stem for path in files}) == 1  # restarts go on with the same run
    rows = [row for path in files for row in history_rows(path)]

    def curve(name: str) -> list[tuple[int, float]]:
        return sorted((row["sidestep/step"], row[f"sidestep/{name}"]) for row in rows if f"sidestep/{name}" in row)

    assert curve("success_rate") == sorted(RATES.items())
    assert curve("newly_broken") == sorted(BROKEN.items())
    (table,) = [row for row in rows if any(name.startswith("sidestep/newly_broken_cases") for name in row)]
    assert table["sidestep/step"] == 30


def test_hostile_names_and_outputs_are_accepted(reports: ReportsFolder, offline: Path) -> None:
    sender = Sender(reports, ["tensorboard"], first_pause=0)
    for step in (20, 30):
        commit(reports, step, hostile=True)
    assert sender.send()
    sender.close()
