"""Whatever the worker says about a checkpoint is in its report.json: no field vanishes on the way, old or new."""

from __future__ import annotations

import json
import types
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass, make_dataclass, replace
from enum import Enum
from itertools import count
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest
from pydantic import ValidationError

from sidestep.evaluator.cases.case import Case, Message, Suite
from sidestep.evaluator.cases.exchange import EngineInfo
from sidestep.evaluator.cases.result import CaseResult, CheckResult, NoiseFloor, SampleResult, Sharing, Slowdown
from sidestep.evaluator.comparing.advice import Advice
from sidestep.evaluator.results.document import adapter_of
from sidestep.evaluator.results.report import Report
from sidestep.evaluator.settings import EngineSettings, EvaluatorSettings
from sidestep.evaluator.suite.hashing import case_hash
from sidestep.evaluator.watching.scan import Candidate
from sidestep.evaluator.watching.tasks import Task
from sidestep.evaluator.working.attempts import open_attempt
from sidestep.evaluator.working.committing import build_report
from sidestep.evaluator.working.evaluation import Ending
from sidestep.evaluator.working.messages import CaseDone, Finished, Ready, decode_event, encode
from sidestep.shared.protocol.identity import CheckpointKey, Identity
from sidestep.shared.protocol.layout import ReportsFolder
from sidestep.shared.protocol.marker import FileEntry, Marker, RunDescription, TrainingMetrics
from sidestep.shared.protocol.outcomes import Outcome
from sidestep.shared.protocol.place import find_place
from sidestep.shared.records import record_document

# Where a report holds what an ending, the worker's last word and a marker say. A new field fails the tests until its
# place is listed here.
ENDING = {"outcome": "outcome", "reason": "reason", "cases": "test_cases", "engine": "environment",
          "attempts": "timing.attempts"}  # fmt: skip
OTHERWISE_WRITTEN = {"task", "suite", "started_at", "finished_at", "work"}  # in part, as ISO 8601, or see WORK
WORK = {"attach_seconds": "timing.attach_seconds", "generate_seconds": "timing.generate_seconds", "noise": "noise",
        "sharing": "sharing"}  # fmt: skip
MARKER = {
    "run_id": "training.run_id", "train_loss": "training.loss", "learning_rate": "training.learning_rate",
    "seconds_per_step": "training.seconds_per_step", "adapter_type": "training.adapter_type",
    "expert_name": "expert_name", "expert_version": "expert_version", "step": "step",
}  # fmt: skip
NOT_IN_REPORTS = {  # of a marker: what the evaluator needs to find and load the checkpoint
    "schema_version", "base_model", "base_revision", "dtype", "prompt_template", "not_evaluable", "files",
    "published_at",
}  # fmt: skip
VALUES = (EngineInfo, CaseResult, CheckResult, SampleResult, NoiseFloor, Sharing, Slowdown)


def filled(kind: Any, numbers: Iterator[int] | None = None) -> Any:
    """A value in which every field has a value of its own, and none its default."""
    numbers = numbers or count(1000)
    origin, arguments = get_origin(kind), get_args(kind)
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        made = {field.name: filled(hints[field.name], numbers) for field in fields(kind)}
        unchanged = [
            field.name for field in fields(kind) if field.default is not MISSING and made[field.name] == field.default
        ]
        assert unchanged == []
        return kind(**made)  # type: ignore[operator]
    if origin in (Union, types.UnionType):
        return filled(next(argument for argument in arguments if argument is not type(None)), numbers)
    if origin is tuple:
        return (filled(arguments[0], numbers),)
    if origin is dict:
        return {filled(arguments[0], numbers): filled(arguments[1], numbers)}
    if isinstance(kind, type) and issubclass(kind, Enum):
        return list(kind)[-1]
    return {Any: "anything", str: f"text {next(numbers)}", int: next(numbers), float: next(numbers) + 0.5, bool: True}[
        kind
    ]


def lost_fields(value: Any, written: Any, path: str) -> list[str]:
    """The fields of a value that a parsed document does not hold as they are."""
    if is_dataclass(value):
        if not isinstance(written, dict):
            return [path]
        return [
            lost
            for field in fields(value)
            for lost in lost_fields(getattr(value, field.name), written.get(field.name), f"{path}.{field.name}")
        ]
    if isinstance(value, tuple) and isinstance(written, list) and len(value) == len(written):
        return [lost for item, other in zip(value, written, strict=True) for lost in lost_fields(item, other, path)]
    return [] if value == written else [path]


def at(document: Any, place: str) -> Any:
    for name in place.split("."):
        document = document[name]
    return document


def with_definition(case: CaseResult, suite: Suite) -> CaseResult:
    """The definition's hash is added when the report is built; all else comes from the worker."""
    return replace(case, definition_hash=case_hash(suite.cases[0]), id=suite.cases[0].id)


MARKED = Marker(
    run_id="run", step=7, run=RunDescription("shop", "3", adapter_type="lora"),
    metrics=TrainingMetrics(0.25, 0.125, 0.75), files=(FileEntry("a.bin", 1, "0" * 64),),
)  # fmt: skip
SUITE = Suite("suite", "1", (Case("c", "c", (Message("user", "x"),)),), "5" * 64)


def ending_of(engine: EngineInfo, case: CaseResult, noise: NoiseFloor, sharing: Sharing) -> Ending:
    key = CheckpointKey("tiny", 7, MARKED.files_hash)
    return Ending(
        task=Task(Identity(key, "s", "d"), Candidate(key, (), MARKED)), outcome=Outcome.ERROR, reason="why",
        cases=(with_definition(case, SUITE),), suite=SUITE, engine=engine, started_at=1.0, finished_at=2.0, attempts=5,
        work=Finished(3.0, 4.0, sharing, noise),
    )  # fmt: skip


def report_of(ending: Ending, folder: Path) -> Any:
    """The parsed report.json of an ending."""
    (folder / "weights").mkdir(exist_ok=True)
    settings = EvaluatorSettings(find_place(folder / "weights"), EngineSettings("base"), folder / "none.json")
    return json.loads(build_report(settings, ending).to_bytes())


def lost_on_the_way(ending: Ending, report: Any) -> list[str]:
    """Which fields of an ending its report does not hold."""
    return [
        lost
        for value, places in ((ending, ENDING), (ending.work, WORK))
        for name, place in places.items()
        for lost in lost_fields(getattr(value, name), at(report, place), name)
    ]


@pytest.fixture
def ending() -> Ending:
    return ending_of(filled(EngineInfo), filled(CaseResult), filled(NoiseFloor), filled(Sharing))


def test_everything_that_an_ending_says_is_in_its_report(ending: Ending, tmp_path: Path) -> None:
    assert {field.name for field in fields(Ending)} == set(ENDING) | OTHERWISE_WRITTEN
    assert {field.name for field in fields(Finished)} == set(WORK) | {"kind", "number"}
    report = report_of(ending, tmp_path)
    assert lost_on_the_way(ending, report) == []
    assert (report["timing"]["started_at"], report["timing"]["finished_at"]) == (
        "1970-01-01T00:00:01.000+00:00", "1970-01-01T00:00:02.000+00:00"
    )  # fmt: skip
    assert report["suite"] == {"name": "suite", "version": "1", "sha256": "5" * 64, "cases": 1}
    assert report["identity"] == {
        "model_folder": "tiny", "step": 7, "manifest_hash": MARKED.files_hash, "suite_hash": "s", "decoding_hash": "d",
        "id": ending.task.identity.id,
    }  # fmt: skip


def test_what_a_marker_says_about_the_training_is_in_the_report(ending: Ending, tmp_path: Path) -> None:
    said = record_document(MARKED)
    assert set(said) == set(MARKER) | NOT_IN_REPORTS
    report = report_of(ending, tmp_path)
    assert {name: at(report, place) for name, place in MARKER.items()} == {name: said[name] for name in MARKER}


def planted(value: Any) -> Any:
    """The same value with one field more, as if somebody had added it to the type and nowhere else."""
    kind = make_dataclass("Planted", [("planted", str, "seed")], bases=(type(value),), frozen=True, kw_only=True)
    return kind(**vars(value))


def test_a_field_that_is_lost_on_the_way_is_seen(ending: Ending, tmp_path: Path) -> None:
    case, sharing = ending.cases[0], ending.work.sharing
    case = replace(case, checks=(planted(case.checks[0]),), samples=(planted(case.samples[0]),))
    sharing = replace(sharing, run=planted(sharing.run))
    lossy = ending_of(planted(ending.engine), planted(case), planted(ending.work.noise), planted(sharing))
    report = report_of(ending, tmp_path)
    assert set(lost_on_the_way(lossy, report)) == {
        "engine.planted", "cases.planted", "cases.checks.planted", "cases.samples.planted", "noise.planted",
        "sharing.planted", "sharing.run.planted",
    }  # fmt: skip


def test_the_workers_pipe_and_an_attempts_file_keep_every_field(tmp_path: Path) -> None:
    case, engine = filled(CaseResult), filled(EngineInfo)
    for event in (CaseDone(1, case), Ready(engine), Finished(1.5, 2.5, filled(Sharing), filled(NoiseFloor))):
        assert decode_event(encode(event)) == event
    reports, identity = ReportsFolder(tmp_path), Identity(CheckpointKey("m", 1, "h"), "s", "d")
    with open_attempt(reports, identity) as attempt:
        attempt.add(case)
    with open_attempt(reports, identity) as again:
        assert again.finished == {case.id: case}


def parts_of(kind: Any) -> Iterator[type]:
    """A document's type and those of everything in it."""
    if is_dataclass(kind):
        yield kind  # type: ignore[misc]
        for hint in get_type_hints(kind).values():
            yield from parts_of(hint)
    for argument in get_args(kind):
        yield from parts_of(argument)


PARTS = sorted({part for kind in (Report, Advice) for part in parts_of(kind)}, key=lambda part: part.__name__)


@pytest.mark.parametrize("kind", PARTS, ids=lambda kind: kind.__name__)
def test_no_part_of_a_document_takes_a_field_that_it_does_not_have(kind: Any) -> None:
    """Copying one value into another that lacks a field is an error, and not a loss."""
    value = filled(kind)
    with pytest.raises(TypeError, match="planted"):
        kind(**vars(value), planted="seed")
    with pytest.raises(TypeError, match="planted"):
        replace(value, planted="seed")


def test_the_parts_are_all_there() -> None:
    assert set(VALUES) < set(PARTS)


@pytest.mark.parametrize("kind", [Report, Advice], ids=lambda kind: kind.__name__)
def test_documents_are_read_as_they_were_written_and_further_keys_are_passed_over(kind: Any) -> None:
    document = filled(kind)
    written = document.to_dict()
    assert kind.from_dict(with_further_keys(document, written)) == document
    with pytest.raises(ValidationError):
        kind.from_dict({})


def with_further_keys(value: Any, written: Any) -> Any:
    """What a value was written as, with one key more in every object, as a later version may write it."""
    if is_dataclass(value):
        known = {name: with_further_keys(getattr(value, name, None), part) for name, part in written.items()}
        return known | {"further": {"key": [1]}}
    if isinstance(value, dict):
        return {name: with_further_keys(value[name], part) for name, part in written.items()}
    if isinstance(value, tuple):
        return [with_further_keys(item, part) for item, part in zip(value, written, strict=True)]
    return written


def test_values_are_read_with_further_keys_too() -> None:
    for kind in VALUES:
        value = filled(kind)
        assert adapter_of(kind).validate_python({**vars(value), "further": 1}) == value
