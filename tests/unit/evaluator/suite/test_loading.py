"""Test cases in every shape found in the wild, and one clear line for what is in none."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from sidestep.evaluator.cases.case import Case, Message
from sidestep.evaluator.cases.exchange import Answer
from sidestep.evaluator.suite.hashing import case_hash
from sidestep.evaluator.suite.loading import load_suite
from sidestep.evaluator.suite.scorers import SCORERS
from sidestep.evaluator.suite.scoring import score_answer
from sidestep.shared.errors import SuiteError

REPOSITORY = Path(__file__).resolve().parents[4]
REAL = REPOSITORY.parent / "shared" / "experts" / "elastic" / "tests" / "test_cases.json"


def _write(folder: Path, document: Any) -> Path:
    path = folder / "test_cases.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def _case(folder: Path, **case: Any) -> Case:
    return load_suite(_write(folder, [{"id": "a", "prompt": "x", **case}])).cases[0]


def _scorers(case: Case) -> list[str]:
    return [check.scorer for check in case.checks]


def test_template_style(tmp_path: Path) -> None:
    suite = load_suite(
        _write(
            tmp_path,
            {
                "test_suite": "s", "version": "1", "description": "d", "metadata": {},
                "test_cases": [
                    {"id": 1, "name": "n", "input": "x", "expected_keywords": ["a"], "expected_format": "json",
                     "category": "c", "may_fail": True, "failure_reason": "r", "_note": "x"},
                    {"id": "b", "prompt": "y", "expected_format": "text"},
                ],
            },
        )
    )  # fmt: skip
    first, second = suite.cases
    assert (suite.name, suite.version, suite.warnings) == ("s", "1", ())
    assert (first.id, first.name, first.category, first.may_fail, first.failure_reason) == ("1", "n", "c", True, "r")
    assert _scorers(first) == ["keywords", "format"]
    assert second.checks == ()


def test_comparison_style(tmp_path: Path) -> None:
    case = load_suite(
        _write(
            tmp_path, {"test_cases": [{"id": "a", "system_prompt": "s", "user_prompt": "u", "expected_type": "kql"}]}
        )
    ).cases[0]
    assert case.messages == (Message("system", "s"), Message("user", "u"))
    assert case.checks == ()


@pytest.mark.expert
@pytest.mark.skipif(not REAL.exists(), reason="the real expert is not here")
def test_the_real_expert() -> None:
    suite = load_suite(REAL)
    assert len(suite.cases) == 14
    assert {_scorers(case)[0] if case.checks else case.category for case in suite.cases} == {"format", "kql", "eql"}
    assert suite.warnings == ()


def test_warnings_and_derived_ids(tmp_path: Path) -> None:
    suite = load_suite(_write(tmp_path, [{"prompt": "x", "expected": "y"}, {"id": "b", "prompt": "x"}]))
    assert len(suite.warnings) == 2
    assert "expected" in suite.warnings[0]
    moved = load_suite(_write(tmp_path, [{"id": "b", "prompt": "x"}, {"prompt": "x", "expected": "y"}]))
    assert {case.id for case in suite.cases} == {case.id for case in moved.cases}


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ('{"test_cases": [\n{]}', r"not valid JSON: .* at line 2"),
        ({"cases_of_test": []}, "no list of test cases"),
        ([3], "test case 1 is not an object"),
        ([{"id": "a"}], "'a' has no prompt"),
        ([{"id": "a", "prompt": 3}], "'a': prompt is wrong"),
        ([{"id": "a", "prompt": "x"}, {"id": "a", "prompt": "y"}], "the id 'a' is used by two"),
        ([{"id": "a", "prompt": "x", "weight": 0}], "weight is wrong"),
        ([{"id": "a", "messages": [{"role": "user"}]}], "no role or no content"),
        ([{"id": "a", "prompt": "x", "checks": [{"scorer": "magic"}]}], r"'magic'.*known are keywords"),
        ([{"id": "a", "prompt": "x", "checks": [{"value": 3}]}], "unknown scorer None"),
        (
            [{"id": "a", "prompt": "x", "checks": [{"scorer": "exact"}]}],
            r"scorer exact: value: .*its parameters are value",
        ),
        ([{"id": "a", "prompt": "x", "checks": [{"scorer": "exact", "value": "x", "vlaue": 1}]}], "vlaue"),
        ([{"id": "a", "prompt": "x", "checks": [{"scorer": "keywords"}]}], "neither keywords"),
        ([{"id": "a", "prompt": "x", "checks": [{"scorer": "format", "format": "x"}]}], "format"),
        (
            [{"id": "a", "prompt": "x", "checks": [{"scorer": "format", "format": "sql", "dialect": "x"}]}],
            "unknown dialect",
        ),
        ([{"id": "a", "prompt": "x", "checks": [{"scorer": "json_schema", "schema": {"type": 3}}]}], "is invalid"),
        ([{"id": "a", "prompt": "x", "checks": [{"scorer": "sql_result", "query": "x"}]}], "either fixture"),
        (
            [{"id": "a", "prompt": "x", "checks": [{"scorer": "sql_result", "query": "x", "fixture": "../x"}]}],
            "outside",
        ),
        ([{"id": "a", "prompt": "x", "checks": [{"scorer": "sql_result", "query": "x", "fixture": "x"}]}], "not exist"),
    ],
)
def test_mistakes_are_one_clear_error(tmp_path: Path, document: Any, reason: str) -> None:
    with pytest.raises(SuiteError, match=reason):
        load_suite(_write(tmp_path, document))


@pytest.mark.parametrize(
    "check",
    [
        {"scorer": "regex", "pattern": "(a"},
        {"scorer": "regex", "pattern": r"(a)\1"},
        {"scorer": "sql_result", "setup": "CREATE TABLE t(n)", "query": "SELECT x FROM t"},
        {"scorer": "sql_result", "setup": "nonsense", "query": "SELECT 1"},
    ],
)
def test_a_check_that_can_never_pass_is_a_warning(tmp_path: Path, check: dict[str, Any]) -> None:
    suite = load_suite(_write(tmp_path, [{"id": "a", "prompt": "x", "checks": [check]}]))
    assert len(suite.warnings) == 1
    assert "its check will fail" in suite.warnings[0]


def test_hash_covers_what_decides_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "db.sql").write_text("CREATE TABLE t(n)")
    checks = [{"scorer": "sql_result", "fixture": "db.sql", "query": "SELECT n FROM t"}]

    def hashed(description: str = "", **case: Any) -> str:
        row = {"id": "a", "prompt": "x", "checks": checks, **case}
        return load_suite(_write(tmp_path, {"description": description, "test_cases": [row]})).sha256

    first = hashed()
    assert hashed("another", name="n", category="c") == first
    assert hashed(prompt="y") != first
    assert hashed(may_fail=True) != first
    (tmp_path / "db.sql").write_text("CREATE TABLE t(n); INSERT INTO t VALUES (1)")
    assert hashed() != first


def test_case_hash_is_of_the_definition(tmp_path: Path) -> None:
    assert case_hash(_case(tmp_path, name="n")) == case_hash(_case(tmp_path))
    assert case_hash(_case(tmp_path, expected_keywords=["k"])) != case_hash(_case(tmp_path))


def test_examples_of_the_document_are_true(tmp_path: Path) -> None:
    text = (REPOSITORY / "docs" / "test-cases.md").read_text()
    blocks = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    used = set()
    for block in blocks:
        suite = load_suite(_write(tmp_path, block))
        assert suite.warnings == ()
        used |= {check.scorer for case in suite.cases for check in case.checks}
    assert used == set(SCORERS) - {"lm_eval", "python", "judge"}  # need other packages or a judge: docs/suites.md


def test_hashes_stay_what_they_are(tmp_path: Path) -> None:
    """Another hash for the same suite would have every checkpoint evaluated again after an update."""
    (tmp_path / "db.sql").write_text("CREATE TABLE t(n)")
    rows = [
        {"id": 1, "input": "x", "system_prompt": "s", "expected_keywords": ["a", "b"], "forbidden_keywords": ["c"],
         "expected_format": "json", "weight": 2, "reference": "r", "max_new_tokens": 5, "may_fail": True,
         "failure_reason": "f"},
        {"prompt": "no id", "checks": [
            {"scorer": "number", "value": 1, "tolerance": 0.5, "negate": True},
            {"scorer": "json_schema", "schema": {"type": "object", "required": ["ü"]}, "_note": "n"},
        ]},
        {"id": "sql", "messages": [{"role": "user", "content": "q"}],
         "checks": [{"scorer": "sql_result", "fixture": "db.sql", "query": "SELECT n FROM t"}]},
    ]  # fmt: skip
    suite = load_suite(_write(tmp_path, {"test_suite": "g", "test_cases": rows}))
    assert suite.sha256 == "58bd45c2bfafa94a10892a5055150470f0b21f856e2240dea705235413b394b0"
    hashes = [case_hash(case)[:16] for case in suite.cases]
    assert hashes == ["2b6dba955f9b5933", "9fae15ce4a2f1092", "a40a1fadb82de0c5"]


def test_parameters_are_validated_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = _case(tmp_path, expected_keywords=["a"], checks=[{"scorer": "exact", "value": "a"}])

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("validated again")

    for check in case.checks:
        monkeypatch.setattr(SCORERS[check.scorer].parameters, "model_validate", refuse)
    result = score_answer(case, Answer("a", "a", 1, 1, "stop", 0.0), tmp_path)
    assert [check.passed for check in result.checks] == [True, True]


def test_without_trying_checks_the_suite_is_the_same_but_for_warnings(tmp_path: Path) -> None:
    check = {"scorer": "sql_result", "setup": "CREATE TABLE t (a)", "query": "SELECT b FROM t ORDER BY b"}
    path = _write(tmp_path, [{"id": "a", "prompt": "x", "checks": [check]}])
    tried, untried = load_suite(path), load_suite(path, try_checks=False)
    assert "does not run" in tried.warnings[0]
    assert untried.warnings == ()
    assert (untried.cases, untried.sha256) == (tried.cases, tried.sha256)
