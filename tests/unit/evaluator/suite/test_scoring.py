"""What each scorer says, and that nothing an answer contains can hurt it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestep.evaluator.cases.case import Case, Check, Message
from sidestep.evaluator.cases.exchange import Answer
from sidestep.evaluator.cases.result import CaseResult, CaseStatus
from sidestep.evaluator.suite.checks import build_check
from sidestep.evaluator.suite.scoring import score_answer

SETUP = "CREATE TABLE t(n, s); INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'b');"


def _check(scorer: str, parameters: dict[str, Any]) -> Check:
    return build_check(scorer, parameters, "here")


def _score(answer: str, *checks: Check, may_fail: bool = False) -> CaseResult:
    case = Case("a", "a", (Message("user", "x"),), checks, may_fail=may_fail)
    return score_answer(case, Answer("a", answer, 1, 1, "stop", 0.0), Path())


def _sql(query: str = "SELECT n FROM t", **more: Any) -> Check:
    return _check("sql_result", {"setup": SETUP, "query": query, "seconds": 0.3, **more})


@pytest.mark.parametrize(
    ("check", "answer", "passed", "score"),
    [
        (("keywords", {"keywords": ["a", "b", "c", "d", "e"]}), "A B c d", True, 8.0),
        (("keywords", {"keywords": ["a", "b", "c", "d", "e"]}), "a b c", False, 6.0),
        (("keywords", {"keywords": ["select"], "forbidden": ["drop"]}), "select; DROP", False, 0.0),
        (("keywords", {"forbidden": ["drop"]}), "select", True, 10.0),
        (("exact", {"value": "yes"}), " yes\n", True, 10.0),
        (("exact", {"value": "yes"}), "Yes", False, 0.0),
        (("exact", {"value": "yes", "ignore_case": True}), "YES", True, 10.0),
        (("contains", {"values": ["a", "b"]}), "ab", True, 10.0),
        (("contains", {"values": ["a", "b"]}), "a", False, 0.0),
        (("contains", {"values": ["a", "b"], "mode": "any"}), "b", True, 10.0),
        (("contains", {"values": ["A"], "ignore_case": True}), "a", True, 10.0),
        (("regex", {"pattern": r"\d+"}), "x 12", True, 10.0),
        (("regex", {"pattern": r"\d+", "mode": "fullmatch"}), "x 12", False, 0.0),
        (("regex", {"pattern": "(a"}), "a", False, 0.0),
        (("format", {"format": "json"}), '```json\n{"a": 1}\n```', True, 10.0),
        (("format", {"format": "json"}), "{'a': 1}", False, 0.0),
        (("format", {"format": "xml"}), "<a><b/></a>", True, 10.0),
        (("format", {"format": "xml"}), "<a>", False, 0.0),
        (("format", {"format": "yaml"}), "a: 1\nb: [2]", True, 10.0),
        (("format", {"format": "yaml"}), "just words", False, 0.0),
        (("format", {"format": "sql"}), "SELECT a FROM b WHERE c = 1", True, 10.0),
        (("format", {"format": "sql"}), "SELECT FROM WHERE", False, 0.0),
        (("format", {"format": "sql"}), "The answer is forty two.", False, 0.0),
        (("format", {"format": "json"}), "", False, 0.0),
        (("json_equal", {"value": {"a": 1, "b": [1, 2]}}), '{"b": [1, 2], "a": 1}', True, 10.0),
        (("json_equal", {"value": [1, 2]}), "[2, 1]", False, 0.0),
        (("json_equal", {"value": [1, 2], "ignore_list_order": True}), "[2, 1]", True, 10.0),
        (("json_equal", {"value": 1.0, "tolerance": 0.1}), "1.05", True, 10.0),
        (("json_equal", {"value": 1}), "true", False, 0.0),
        (("json_schema", {"schema": {"type": "object", "required": ["a"]}}), '{"a": 1}', True, 10.0),
        (("json_schema", {"schema": {"type": "object", "required": ["a"]}}), "{}", False, 0.0),
        (("json_schema", {"schema": {"$ref": "https://example.com/x"}}), "{}", False, 0.0),
        (("number", {"value": 1234.5}), "about 1,234.5 in all", True, 10.0),
        (("number", {"value": 3, "which": "first"}), "3 of 5", True, 10.0),
        (("number", {"value": 3}), "3 of 5", False, 0.0),
        (("number", {"value": 100, "relative_tolerance": 0.05}), "104", True, 10.0),
        (("number", {"value": 1}), "none", False, 0.0),
    ],
)
def test_scorers(check: tuple[str, dict[str, Any]], answer: str, passed: bool, score: float) -> None:
    result = _score(answer, _check(*check))
    assert (result.checks[0].passed, result.score) == (passed, score)
    assert result.checks[0].detail


@pytest.mark.parametrize(
    ("query", "answer", "passed"),
    [
        ("SELECT n FROM t", "```sql\nSELECT n FROM t WHERE n > 0;\n```", True),
        ("SELECT n FROM t", "SELECT n FROM t ORDER BY n DESC", True),
        ("SELECT n FROM t ORDER BY n", "SELECT n FROM t ORDER BY n DESC", False),
        ("SELECT sum(n) FROM t", "SELECT 6.0", True),
        ("SELECT s, count(*) FROM t GROUP BY s", "SELECT s AS x, count(n) FROM t GROUP BY 1", True),
        ("SELECT s, count(*) FROM t GROUP BY s", "SELECT count(n), s FROM t GROUP BY 2", False),
        ("SELECT n FROM t", "SELECT n FROM t LIMIT 2", False),
        ("SELECT n FROM t WHERE n > 9", "SELECT n FROM t WHERE n > 8", True),
        ("SELECT s FROM t", "SELECT DISTINCT s FROM t", False),
        ("SELECT 1", "SELECT '1'", False),
        ("SELECT n FROM t", "I would select n.", False),
        ("SELECT n FROM t", "", False),
        ("SELECT n FROM t", "WITH x AS (SELECT n FROM t) SELECT n FROM x", True),
    ],
)
def test_sql_by_execution(query: str, answer: str, passed: bool) -> None:
    assert _score(answer, _sql(query)).checks[0].passed is passed


HOSTILE_SQL = [
    "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT count(*) FROM r",
    "SELECT * FROM t a, t b, t c, t d, t e, t f, t g, t h, t i, t j, t k, t l, t m, t o, t p, t q",
    "ATTACH DATABASE '/tmp/x.db' AS x",
    "PRAGMA writable_schema = 1",
    "SELECT load_extension('x')",
    "SELECT readfile('/etc/passwd')",
    "SELECT zeroblob(2000000000)",
    "SELECT hex(randomblob(1000000000))",
    "SELECT printf('%2000000000d', 1)",
    "DELETE FROM t",
    "INSERT INTO t VALUES (9, 'x')",
    "DROP TABLE t",
    "CREATE TABLE u(n)",
    "VACUUM INTO '/tmp/sidestep-hostile.db'",
    "SELECT " + "(" * 5000 + "1" + ")" * 5000,
    "SELECT '\ud800'",
    "SELECT 'a\0b",
]


@pytest.mark.parametrize("answer", HOSTILE_SQL)
def test_hostile_sql_is_contained_and_fails(answer: str) -> None:
    assert _score(answer, _sql()).status is CaseStatus.FAILED
    assert not Path("/tmp/sidestep-hostile.db").exists()
    assert _score("SELECT n FROM t", _sql()).status is CaseStatus.PASSED  # the fixture is as it was


def test_too_many_rows_fail() -> None:
    assert _score("SELECT n FROM t", _sql(rows=2, query="SELECT 1")).status is CaseStatus.FAILED


ALL_CHECKS = (
    _check("keywords", {"keywords": ["never there"]}),
    _check("exact", {"value": "never"}),
    _check("contains", {"values": ["never there"]}),
    _check("regex", {"pattern": "(never+)+$"}),
    _check("format", {"format": "json"}),
    _check("format", {"format": "xml"}),
    _check("format", {"format": "yaml"}),
    _check("format", {"format": "sql"}),
    _check("json_equal", {"value": {"never": 1}}),
    _check("json_schema", {"schema": {"required": ["never"], "type": "object"}}),
    _check("number", {"value": 1.5}),
    _sql(),
)

BILLION_LAUGHS_YAML = "a: &a [x,x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)},*{chr(97 + n)}]\n" for n in range(20)
)
BILLION_LAUGHS_XML = '<!DOCTYPE l [<!ENTITY a "x"><!ENTITY b "&a;&a;&a;&a;">]><l>&b;</l>'


@pytest.mark.parametrize(
    "answer",
    [
        "[" * 100_000,
        "[" * 90_000 + "]" * 90_000,
        "<a>" * 50_000,
        "{" * 50_000,
        "- " * 40_000,
        BILLION_LAUGHS_YAML,
        BILLION_LAUGHS_XML,
        "a" * 200_000 + "!",
        "9" * 100_000,
        "1e999999999",
        "\ud800\udfff",
        "\0\x1b[31m\u202e",
        "```" * 10_000,
        "((((" * 10_000,
        "SELECT " * 10_000,
        "x" * 3_000_000,
    ],
    ids=range(16),
)
def test_hostile_answers_fail_every_check_and_raise_nothing(answer: str) -> None:
    result = _score(answer, *ALL_CHECKS)
    assert result.status is CaseStatus.FAILED
    assert result.output == answer


@given(st.text(alphabet=st.characters(), max_size=200))
@settings(max_examples=60, deadline=None)
def test_no_text_raises(answer: str) -> None:
    assert len(_score(answer, *ALL_CHECKS).checks) == len(ALL_CHECKS)


@pytest.mark.parametrize(
    ("checks", "answer", "may_fail", "status"),
    [
        ((), "x", False, CaseStatus.UNSCORED),
        ((), "x", True, CaseStatus.UNSCORED),
        ((_check("exact", {"value": "x"}),), "x", False, CaseStatus.PASSED),
        ((_check("exact", {"value": "x"}),), "y", True, CaseStatus.EXPECTED_FAILURE),
        ((_check("exact", {"value": "x"}),), "x", True, CaseStatus.UNEXPECTED_PASS),
        ((_check("exact", {"value": "x"}), _check("contains", {"values": ["y"]})), "x", False, CaseStatus.FAILED),
    ],
)
def test_status(checks: tuple[Check, ...], answer: str, may_fail: bool, status: CaseStatus) -> None:
    result = _score(answer, *checks, may_fail=may_fail)
    assert result.status is status
    if len(checks) == 2:
        assert result.score == 5.0
    if not checks:
        assert result.score is None
