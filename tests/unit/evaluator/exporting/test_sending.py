"""What is sent when: failures are retried, restarts send nothing twice, flips wait until they are known."""

from __future__ import annotations

import pytest

from sidestep.evaluator.exporting.destinations import chosen_destinations
from sidestep.evaluator.exporting.ledger import ledger_folder
from sidestep.evaluator.exporting.points import metric_name, runs_of
from sidestep.evaluator.exporting.sending import ATTEMPTS, Sender
from sidestep.evaluator.exporting.webhook import checked_url
from sidestep.evaluator.results.store import read_reports
from sidestep.shared.errors import ConfigError
from sidestep.shared.protocol.layout import ReportsFolder
from tests.fakes.webhook import webhook_receiver
from tests.unit.evaluator.exporting.conftest import FakeDestination, commit


def _sender(reports: ReportsFolder, destination: FakeDestination) -> Sender:
    return Sender(reports, ["tensorboard"], opener=lambda name, folder: destination, first_pause=0)


def test_flips_wait_for_older_checkpoints(reports: ReportsFolder) -> None:
    destination = FakeDestination()
    sender = _sender(reports, destination)
    commit(reports, 10)
    commit(reports, 30)
    assert sender.send([20])
    assert [(step, "sidestep/newly_broken" in metrics) for step, metrics in destination.sent] == [
        (10, False),
        (30, False),
    ]
    commit(reports, 20)
    destination.sent.clear()
    assert sender.send()
    assert destination.sent[0][0] == 20
    assert destination.sent[1] == (30, {"sidestep/newly_broken": 1.0, "sidestep/newly_fixed": 0.0})


def test_nothing_is_sent_twice(reports: ReportsFolder) -> None:
    commit(reports, 10)
    assert _sender(reports, FakeDestination()).send()
    again = FakeDestination()
    assert _sender(reports, again).send()
    assert again.sent == []


def test_a_damaged_ledger_is_put_aside(reports: ReportsFolder) -> None:
    commit(reports, 10)
    assert _sender(reports, FakeDestination()).send()
    (path,) = ledger_folder(reports).iterdir()
    path.write_text("{")
    again = FakeDestination()
    assert _sender(reports, again).send()
    assert [step for step, _ in again.sent] == [10]


def test_a_short_failure_is_retried(reports: ReportsFolder, caplog: pytest.LogCaptureFixture) -> None:
    commit(reports, 10)
    destination = FakeDestination(failures=ATTEMPTS - 1)
    assert _sender(reports, destination).send()
    assert destination.calls == ATTEMPTS
    assert "cannot be reached" not in caplog.text


def test_a_long_failure_is_one_warning_and_loses_nothing(
    reports: ReportsFolder, caplog: pytest.LogCaptureFixture
) -> None:
    commit(reports, 10)
    destination = FakeDestination(failures=ATTEMPTS + 2)
    sender = _sender(reports, destination)
    assert [sender.send() for _ in range(3)] == [False, False, False]
    assert caplog.text.count("tensorboard cannot be reached") == 1
    assert sender.send()
    assert [step for step, _ in destination.sent] == [10]


def test_a_training_is_a_run_and_the_base_model_its_start(reports: ReportsFolder) -> None:
    for step in (None, 10, 20):
        commit(reports, step)
    (run,) = runs_of(read_reports(reports))
    assert run.name == "shop 1 abcdef01"
    assert [point.step for point in run.points] == [0, 10, 20]
    assert run.points[1].metrics["sidestep/train_loss"] == pytest.approx(0.1)
    assert {name for name in run.points[0].metrics if "loss" in name} == set()


@pytest.mark.parametrize("text", ["tensorboard,nothing", "wand b"])
def test_unknown_destinations_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="does not know"):
        chosen_destinations(text)


def test_destinations() -> None:
    assert chosen_destinations(None) == chosen_destinations("none") == chosen_destinations([]) == ()
    assert chosen_destinations(" MLflow, tensorboard,mlflow") == ("mlflow", "tensorboard")
    assert "tensorboard" in chosen_destinations("all")
    with pytest.raises(ConfigError, match="is not a list of names"):
        chosen_destinations([1])  # type: ignore[list-item]


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"sidestep\[wandb\]"):
        chosen_destinations("wandb")


def test_category_names_become_metric_names() -> None:
    assert metric_name("read only") == "read only"
    assert metric_name("a|b") != metric_name("a&b")


def test_webhook(reports: ReportsFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIDESTEP_WEBHOOK_TOKEN", "t0k")
    for step in (20, 30):
        commit(reports, step)
    with webhook_receiver([500, 429]) as (url, accepted):
        assert Sender(reports, [], url, first_pause=0).send()
        assert Sender(reports, [], url, first_pause=0).send()
    assert [body["step"] for _, body in accepted] == [20, 30]
    headers, body = accepted[1]
    assert headers["Authorization"] == "Bearer t0k"
    assert headers["Idempotency-Key"] == body["id"]
    assert body["newly_broken"] == [{"id": "a", "name": "a"}]
    assert body["compared_with"] == "checkpoint-20"
    assert body["verdict"] == "no difference that this suite can show"
    assert (body["success_rate"], body["passed"], body["failed"]) == (0.5, 1, 1)


def test_a_refusing_webhook_is_asked_once(reports: ReportsFolder, caplog: pytest.LogCaptureFixture) -> None:
    commit(reports, 10)
    with webhook_receiver([403, 302]) as (url, accepted):
        sender = Sender(reports, [], url, first_pause=0)
        assert [sender.send(), sender.send(), sender.send()] == [False, False, True]
    assert len(accepted) == 1
    assert caplog.text.count("it answered 403") == 1


@pytest.mark.parametrize("url", ["ftp://x/y", "hook", "http://"])
def test_webhook_addresses_are_checked(url: str) -> None:
    with pytest.raises(ConfigError, match="is not an address"):
        checked_url(url)
