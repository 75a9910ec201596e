"""The suite follows its file, and survives what people do to it while an evaluator runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sidestep.evaluator.cases.case import Suite
from sidestep.evaluator.suite.loading import load_suite
from sidestep.evaluator.working import suite_file
from sidestep.evaluator.working.suite_file import SuiteFile
from sidestep.shared.errors import SuiteError


def _write(path: Path, *prompts: str) -> None:
    cases = [{"id": f"c{n}", "prompt": prompt, "expected_keywords": ["x"]} for n, prompt in enumerate(prompts)]
    path.write_text(json.dumps(cases))


def test_it_is_loaded_once_for_each_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "cases.json"
    loads: list[Path] = []

    def count(path: Path) -> Suite:
        loads.append(path)
        return load_suite(path)

    monkeypatch.setattr(suite_file, "load_suite", count)
    file = SuiteFile(path)
    _write(path, "a")
    first = file.read()
    assert first is not None and file.read() is first
    _write(path, "a", "b")
    second = file.read()
    assert second is not None and len(second.cases) == 2
    assert len(loads) == 2


def test_a_file_that_becomes_invalid_leaves_the_last_good_suite(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "cases.json"
    file = SuiteFile(path)
    _write(path, "a")
    good = file.read()
    path.write_text("{")
    assert file.read() is good and file.read() is good
    assert len([record for record in caplog.records if "going on with the test cases" in record.message]) == 1
    _write(path, "b")
    assert file.read() is not good


def test_a_file_that_is_invalid_from_the_start_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "cases.json").write_text("{")
    with pytest.raises(SuiteError):
        SuiteFile(tmp_path / "cases.json").read()


def test_no_file_is_no_suite(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "cases.json"
    file = SuiteFile(path)
    assert file.read() is None and file.read() is None
    assert len([record for record in caplog.records if "nothing to test" in record.message]) == 1
    _write(path, "a")
    assert file.read() is not None


@pytest.mark.parametrize("cases", [[], [{"id": "a", "prompt": "say it"}]])
def test_a_suite_that_decides_nothing_is_a_problem_until_it_does(tmp_path: Path, cases: list[dict[str, str]]) -> None:
    path = tmp_path / "cases.json"
    path.write_text(json.dumps(cases))
    file = SuiteFile(path)
    assert file.read() is None
    assert file.problem is not None and not file.is_missing
    _write(path, "a")
    assert file.read() is not None
    assert file.problem is None
