"""The example expert: its script makes it, its test is fair, and its grading tells right from wrong.

These tests read the committed files and check them with SQLite and sqlglot, not with the script's own functions.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlglot
from sqlglot import expressions as sql

from sidestep.evaluator.cases.exchange import Answer
from sidestep.evaluator.cases.result import CaseStatus
from sidestep.evaluator.commands.build_settings import build_settings
from sidestep.evaluator.suite.loading import load_suite
from sidestep.evaluator.suite.scoring import score_answer
from sidestep.shared.commands.choices import Order
from sidestep.shared.commands.options import EvaluationOptions, ModelOptions
from sidestep.shared.logs import get_logger
from sidestep.trainer.config.reading import read_config


@pytest.fixture
def cases(shop: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((shop / "tests" / "test_cases.json").read_text())["test_cases"]
    return found


@pytest.fixture
def training(shop: Path) -> list[tuple[str, str, str]]:
    """System prompts, questions and answers of the training rows."""
    lines = (shop / "datasets" / "train.jsonl").read_text().splitlines()
    return [turns(json.loads(line)["text"]) for line in lines]


@pytest.fixture
def database(shop: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:")
    connection.executescript((shop / "tests" / "shop.sql").read_text())
    yield connection
    connection.close()


def turns(text: str) -> tuple[str, str, str]:
    system, user, assistant, rest = text.split("<|end|>")
    assert rest == ""
    return (
        system.removeprefix("<|system|>\n").rstrip("\n"),
        user.removeprefix("\n<|user|>\n").rstrip("\n"),
        assistant.removeprefix("\n<|assistant|>\n").rstrip("\n"),
    )


def skeleton(query: str) -> str:
    """The query with every value taken out: two questions with the same skeleton are of one combination."""

    def without_value(node: sql.Expression) -> sql.Expression:
        return sql.Placeholder() if isinstance(node, sql.Literal) else node

    return str(sqlglot.parse_one(query, dialect="sqlite").transform(without_value).sql())


def values(query: str) -> set[tuple[str, str]]:
    """(column, value) of all conditions; a condition on COUNT(*) has the column ``*``."""
    found = set()
    for comparison in sqlglot.parse_one(query, dialect="sqlite").find_all(sql.EQ, sql.GT, sql.LT):
        if isinstance(comparison.expression, sql.Literal):
            found.add((comparison.this.name or "*", comparison.expression.name))
    return found


def answer(database: sqlite3.Connection, query: str) -> list[tuple[Any, ...]]:
    return sorted(database.execute(query).fetchall(), key=repr)


def near_misses(query: str) -> Iterator[str]:
    """Every condition dropped; every comparison turned round or moved by one; the other end of a sorted list."""
    tree = sqlglot.parse_one(query, dialect="sqlite")
    for number, node in enumerate(tree.find_all(sql.And, sql.GT, sql.LT, sql.Ordered, sql.Where, sql.Having)):
        for change in changes(node):
            copy = tree.copy()
            list(copy.find_all(sql.And, sql.GT, sql.LT, sql.Ordered, sql.Where, sql.Having))[number].replace(change)
            yield copy.sql(dialect="sqlite")


def changes(node: sql.Expression) -> list[sql.Expression]:
    if isinstance(node, sql.And):
        return [node.this.copy(), node.expression.copy()]
    if isinstance(node, sql.GT | sql.LT):
        left, right = node.this.copy(), node.expression.copy()
        if not isinstance(right, sql.Literal):
            return []
        other, or_equal = (sql.LT, sql.GTE) if isinstance(node, sql.GT) else (sql.GT, sql.LTE)
        return [other(this=left, expression=right), or_equal(this=left.copy(), expression=right.copy())]
    if isinstance(node, sql.Ordered):
        return [sql.Ordered(this=node.this.copy(), desc=not node.args.get("desc"))]
    return [type(node)(this=sql.true())]


@pytest.mark.parametrize("hash_seed", ["0", "1"])
def test_script_writes_the_committed_bytes(project: Path, shop: Path, tmp_path: Path, hash_seed: str) -> None:
    script = project / "examples" / "make_shop_expert.py"
    environment = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([sys.executable, script, "--output", tmp_path], check=True, env=environment)
    written = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    committed = {
        path: (shop / path).read_bytes()
        for path in map(Path, ("manifest.json", "datasets/train.jsonl", "tests/test_cases.json", "tests/shop.sql"))
    }
    assert written == committed


def test_suite_has_24_cases_of_each_class(cases: list[dict[str, Any]]) -> None:
    assert Counter(case["category"] for case in cases) == {"easy": 24, "hard": 24}
    assert len({case["id"] for case in cases}) == len({case["user_prompt"] for case in cases}) == 48


def test_classes_are_what_they_say(cases: list[dict[str, Any]]) -> None:
    for case in cases:
        tree = sqlglot.parse_one(case["reference"], dialect="sqlite")
        needs_more = any(tree.find(kind) for kind in (sql.Join, sql.Group, sql.Having, sql.In, sql.Subquery))
        assert needs_more == (case["category"] == "hard"), case["reference"]


def test_training_has_enough_distinct_rows_of_both_classes(training: list[tuple[str, str, str]]) -> None:
    questions = [question for _, question, _ in training]
    assert len(set(questions)) == len(questions) >= 800


def test_one_system_prompt_for_training_and_test(
    training: list[tuple[str, str, str]], cases: list[dict[str, Any]]
) -> None:
    assert len({row[0] for row in training} | {case["system_prompt"] for case in cases}) == 1


def test_no_combination_of_the_test_is_in_training(
    training: list[tuple[str, str, str]], cases: list[dict[str, Any]]
) -> None:
    trained = {skeleton(query) for _, _, query in training}
    assert [case["id"] for case in cases if skeleton(case["reference"]) in trained] == []


def test_no_value_of_the_test_is_in_training(training: list[tuple[str, str, str]], cases: list[dict[str, Any]]) -> None:
    trained = set().union(*(values(query) for _, _, query in training))
    tested = set().union(*(values(case["reference"]) for case in cases))
    assert len(tested) > 20
    assert tested & trained == set()


def test_every_training_answer_runs(training: list[tuple[str, str, str]], database: sqlite3.Connection) -> None:
    for _, _, query in training:
        database.execute(query).fetchall()


def test_every_reference_finds_something(cases: list[dict[str, Any]], database: sqlite3.Connection) -> None:
    for case in cases:
        rows = answer(database, case["reference"])
        assert rows and rows not in ([(0,)], [(None,)]), case["reference"]


def test_near_misses_give_other_results(cases: list[dict[str, Any]], database: sqlite3.Connection) -> None:
    same = [
        (case["id"], wrong)
        for case in cases
        for wrong in near_misses(case["reference"])
        if answer(database, wrong) == answer(database, case["reference"])
    ]
    assert same == []
    assert sum(1 for case in cases for _ in near_misses(case["reference"])) > 150


def test_questions_for_the_first_have_one_answer(cases: list[dict[str, Any]], database: sqlite3.Connection) -> None:
    for case in cases:
        if case["reference"].endswith(" LIMIT 1"):
            first = answer(database, case["reference"])
            for tie_breaker in (", 1 LIMIT 1", ", 1 DESC LIMIT 1"):
                assert answer(database, case["reference"].replace(" LIMIT 1", tie_breaker)) == first, case["id"]


def test_the_evaluator_passes_references_and_fails_near_misses(shop: Path) -> None:
    suite = load_suite(shop / "tests" / "test_cases.json")
    assert suite.warnings == () and len(suite.cases) == 48
    for case in suite.cases:
        assert case.reference is not None
        wrong = next(near_misses(case.reference))
        for text, status in ((case.reference, CaseStatus.PASSED), (wrong, CaseStatus.FAILED)):
            given = Answer(case.id, text, prompt_tokens=1, output_tokens=1, finish_reason="stop", seconds=0.0)
            assert score_answer(case, given, shop / "tests").status is status, text


def test_trainer_reads_the_manifest(shop: Path) -> None:
    warnings: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: warnings.append(record.getMessage())  # type: ignore[method-assign]
    get_logger("trainer").addHandler(handler)
    try:
        config = read_config(shop)
    finally:
        get_logger("trainer").removeHandler(handler)
    assert warnings == []
    assert (config.expert_name, config.expert_version, config.adapter_type) == ("expert-shop", "0.1.0", "lora")
    assert Path(config.dataset_path) == shop / "datasets" / "train.jsonl"
    rows = len((shop / "datasets" / "train.jsonl").read_text().splitlines())
    checkpoints = rows * config.epochs / config.batch_size / config.save_steps
    assert checkpoints >= 6
    assert config.save_total_limit == 2


def test_evaluator_reads_the_manifest(shop: Path, tmp_path: Path) -> None:
    options = EvaluationOptions(model=ModelOptions(base_model=str(tmp_path)))
    settings = build_settings(shop, options, order=Order.NEWEST)
    assert settings.decoding.max_new_tokens == 64
    assert settings.suite_path == shop / "tests" / "test_cases.json"
