"""A new version of the expert, older reports compressed, and documents of every age: nothing is lost."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import jsonschema
import pytest

from sidestep.evaluator.presenting.schema import DOCUMENTS, schema_of
from sidestep.evaluator.reporting.commit import commit_report
from sidestep.evaluator.reporting.derived_files import refresh_derived_files
from sidestep.evaluator.results import files
from sidestep.evaluator.results.migration import is_legacy, parse_report
from sidestep.evaluator.results.report import InvalidReport, outcome_of
from sidestep.evaluator.results.store import list_outcomes, read_reports
from sidestep.shared.files import to_json
from sidestep.shared.protocol.layout import ReportsFolder
from sidestep.shared.protocol.outcomes import SCHEMA_VERSION, parse_outcome
from tests.fakes.reports import FAIL, PASS, make_report

TORN = gzip.compress(b"{}")[:10] + b"\xff" * 20
SAMPLES = Path(__file__).parent / "samples"
SCHEMAS = Path(__file__).resolve().parents[4] / "docs" / "schema"


@pytest.fixture
def reports(tmp_path: Path) -> ReportsFolder:
    return ReportsFolder(tmp_path / "training_reports")


def _commit(reports: ReportsFolder, step: int, passed: int, version: str, current: str | None, **more: str) -> None:
    cases = {f"case-{n}": PASS if n < passed else FAIL for n in range(20)}
    assert commit_report(reports, make_report(step, cases, version=version, **more), current_version=current)
    refresh_derived_files(reports)


def _places(reports: ReportsFolder) -> list[str]:
    return sorted(str(entry.folder.relative_to(reports.root)) for entry in read_reports(reports))


def test_a_new_version_moves_the_old_one_to_the_archive_and_is_compared_with_it(reports: ReportsFolder) -> None:
    commit_report(reports, make_report(None, {"case-0": FAIL}, version="1"), current_version="1")
    for step, passed in ((10, 4), (20, 16), (30, 12)):
        _commit(reports, step, passed, "1", "1")
    _commit(reports, 10, 2, "2", "2")
    assert _places(reports) == [
        "archive/1/tiny/checkpoint-10", "archive/1/tiny/checkpoint-20", "archive/1/tiny/checkpoint-30",
        "base", "checkpoint-10",
    ]  # fmt: skip
    comparisons = json.loads((reports.checkpoint(10) / "report.json").read_text())["comparisons"]
    against = {name: (entry["against"], entry["against_version"]) for name, entry in comparisons.items()}
    assert against["previous_version"] == ("checkpoint-30", "1")
    assert against["previous_version_best"] == ("checkpoint-20", "1")
    assert comparisons["previous_version_best"]["verdict"]["word"] == "worse"
    assert comparisons["previous_version_best"]["verdict"]["family"] == {"number": 1, "candidates": 3}
    history = json.loads(reports.comparison.read_text())
    versions = [(version["expert_version"], version["last"]["checkpoint"], version["best"]["checkpoint"])
                for version in history["versions"]]  # fmt: skip
    assert versions == [("1", "checkpoint-30", "checkpoint-20"), ("2", "checkpoint-10", "checkpoint-10")]
    assert len(history["cases"]["case-1"]["results"]) == 4


def test_a_late_checkpoint_of_the_old_version_goes_to_the_archive_and_disturbs_nothing(reports: ReportsFolder) -> None:
    _commit(reports, 10, 4, "1", "1")
    _commit(reports, 10, 6, "2", "2")
    late = make_report(20, {"case-0": PASS}, version="1")
    assert commit_report(reports, late, current_version="2")
    assert not commit_report(reports, late, current_version="2")
    assert _places(reports) == ["archive/1/tiny/checkpoint-10", "archive/1/tiny/checkpoint-20", "checkpoint-10"]
    archived = files.read_report(reports.archive / "1" / "tiny" / "checkpoint-20")
    assert set(archived.comparisons) == {"previous", "best"}
    assert archived.comparisons["previous"].against == "checkpoint-10"


@pytest.mark.parametrize("version", ["unknown", "1"])
def test_without_reports_of_the_manifests_version_nothing_is_late(reports: ReportsFolder, version: str) -> None:
    _commit(reports, 10, 4, version, "3")
    _commit(reports, 20, 4, version, "3")
    assert _places(reports) == ["checkpoint-10", "checkpoint-20"]


def test_older_reports_are_compressed_and_every_reader_takes_them(reports: ReportsFolder) -> None:
    for step, passed in ((10, 4), (20, 16), (30, 12), (40, 12)):
        _commit(reports, step, passed, "1", "1")
    before = {entry.folder: entry.report for entry in read_reports(reports)}
    history = reports.comparison.read_bytes()
    refresh_derived_files(reports, keep_reports=1)
    plain = {path.parent.name for path in reports.root.rglob("report.json")}
    assert plain == {"checkpoint-20", "checkpoint-40"}  # the newest, and the best
    assert {path.name for path in (reports.checkpoint(10)).iterdir()} == {
        "outcome.json", "report.json.gz", "report.md.gz"
    }  # fmt: skip
    assert {entry.folder: entry.report for entry in read_reports(reports)} == before
    refresh_derived_files(reports, keep_reports=1)
    assert reports.comparison.read_bytes() == history
    assert len(list_outcomes(reports)) == 4


def test_a_compressed_report_is_refreshed_where_it_is(reports: ReportsFolder) -> None:
    _commit(reports, 20, 4, "1", "1")
    _commit(reports, 30, 12, "1", "1")
    refresh_derived_files(reports, keep_reports=0)
    _commit(reports, 10, 9, "1", "1")  # a predecessor comes later
    content = gzip.decompress((reports.checkpoint(20) / "report.json.gz").read_bytes())
    assert json.loads(content)["comparison"]["previous_checkpoint"] == "checkpoint-10"
    assert b"checkpoint-10" in gzip.decompress((reports.checkpoint(20) / "report.md.gz").read_bytes())
    assert not (reports.checkpoint(20) / "report.json").exists()


def test_a_fault_between_compressing_and_removing_loses_nothing(reports: ReportsFolder) -> None:
    _commit(reports, 10, 4, "1", "1")
    folder = reports.checkpoint(10)
    (folder / "report.json.gz").write_bytes(b"cut sho")
    assert files.read_report(folder).step == 10
    assert files.compress(folder)
    assert files.read_report(folder).step == 10
    assert not files.compress(folder)


@pytest.mark.parametrize(
    "content",
    [b"", b"no gzip", gzip.compress(b"{}")[:-6], gzip.compress(b"[]"), TORN],
    ids=["empty", "no gzip", "cut short", "no report", "torn"],
)
def test_a_broken_compressed_report_is_left_alone(reports: ReportsFolder, content: bytes) -> None:
    folder = reports.checkpoint(10)
    folder.mkdir(parents=True)
    (folder / "report.json.gz").write_bytes(content)
    assert read_reports(reports) == []
    assert (folder / "report.json.gz").read_bytes() == content


@pytest.mark.parametrize("name", ["report-v1-checkpoint-10.json", "report-v1-checkpoint-20.json"])
def test_reports_of_schema_1(name: str) -> None:
    report = parse_report((SAMPLES / name).read_bytes())
    assert report.schema_version == SCHEMA_VERSION
    assert report.test_results.interval is not None
    assert report.test_results.interval.low < report.test_results.success_rate < report.test_results.interval.high
    assert not is_legacy(report)
    assert parse_outcome((SAMPLES / "outcome-v1.json").read_bytes()) is not None


def test_reports_of_schema_1_get_their_verdicts_in_place(reports: ReportsFolder) -> None:
    for step in (10, 20):
        reports.checkpoint(step).mkdir(parents=True)
        shutil.copy(SAMPLES / f"report-v1-checkpoint-{step}.json", reports.checkpoint(step) / "report.json")
    refresh_derived_files(reports)
    document = json.loads((reports.checkpoint(20) / "report.json").read_text())
    assert document["schema_version"] == SCHEMA_VERSION
    assert document["comparisons"]["previous"]["verdict"]["word"] == "no difference that this suite can show"


def test_reports_of_the_host_are_read_and_never_rewritten(reports: ReportsFolder) -> None:
    for step in (250, 500):
        reports.checkpoint(step).mkdir(parents=True)
        shutil.copy(SAMPLES / f"legacy-checkpoint-{step}.json", reports.checkpoint(step) / "report.json")
    old, new = (parse_report((SAMPLES / f"legacy-checkpoint-{step}.json").read_bytes()) for step in (250, 500))
    assert (old.step, old.test_results.passed, is_legacy(old)) == (250, 2, True)
    refresh_derived_files(reports)
    assert (reports.checkpoint(250) / "report.json").read_bytes() == (
        SAMPLES / "legacy-checkpoint-250.json"
    ).read_bytes()
    history = json.loads(reports.comparison.read_text())
    assert [result["status"] for result in history["cases"]["sql_001"]["results"]] == ["failed", "passed"]
    assert new.comparison.new_failures == ("kql_001",)
    _commit(reports, 250, 3, "0.2.0", "0.2.0")  # evaluated now: the host's report makes room, as one of its own version
    assert sorted(path.parent.parent.parent.name for path in reports.archive.rglob("report.json")) == ["0.1.0"] * 2
    comparisons = json.loads((reports.checkpoint(250) / "report.json").read_text())["comparisons"]
    assert comparisons["previous_version"]["against"] == "checkpoint-500"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"[]", "not a JSON object"),
        (b"{", "document"),
        (b"[" * 100_000, "document"),
        (b'{"schema_version": 99}', "newer than this Sidestep"),
        (b'{"checkpoint": "final"}', "does not name a step"),
    ],
)
def test_what_is_not_a_report(content: bytes, reason: str) -> None:
    with pytest.raises(InvalidReport, match=reason):
        parse_report(content)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_published_schemas_are_what_the_code_says(name: str) -> None:
    published = (SCHEMAS / f"{name}.schema.json").read_bytes()
    assert published == to_json(schema_of(name)), (
        f"run: sidestep-evaluator schema {name} > docs/schema/{name}.schema.json"
    )


def test_what_is_written_satisfies_the_published_schemas(reports: ReportsFolder) -> None:
    for step, passed in ((10, 4), (20, 16)):
        _commit(reports, step, passed, "1", "1")
    for path, name in (
        (reports.checkpoint(20) / "report.json", "report"),
        (reports.checkpoint(20) / "outcome.json", "outcome"),
        (reports.advice, "advice"),
    ):
        schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text())
        jsonschema.validate(json.loads(path.read_text()), schema, cls=jsonschema.Draft202012Validator)
    broken = json.loads(outcome_of(make_report(10, {})).to_bytes()) | {"outcome": "splendid"}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, schema_of("outcome"))
