"""Writes the example expert ``examples/shop``: questions over a small shop database, answered in SQL.

    manifest.json            schema 2.0, LoRA on a small instruction model
    datasets/train.jsonl     960 rows, one ``text`` column in pseudo-ChatML
    tests/test_cases.json    48 held-out cases (24 easy: one table; 24 hard: joins, groups, subqueries)
    tests/shop.sql           the database on which answers are executed

How test cases are held out: a *combination* is what is asked for together with the filters that apply
(see shop_questions). The combinations of the test cases occur in no training row, and neither do their values: other
cities, categories, years and numbers. What a model can know from training is the single parts, and the schema.

A test case is taken only when its reference query gives something on the database and every near miss of it
(a filter forgotten, ``>`` for ``>=`` or ``<``, another aggregate, another value of the same kind) gives something else,
so that a wrong query cannot pass by luck. The bytes written are the same on every machine.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import shop_database as shop
import shop_questions as language
from shop_manifest import MANIFEST
from shop_questions import Combination, Value

TRAINING_ROWS = 960
CASES_PER_CATEGORY = 24
SYSTEM_PROMPT = f"Write SQL for {shop.COMPACT_SCHEMA}"
SEED = 7


@dataclass(frozen=True)
class Split:
    """Which combinations are for training, by category and select, and the test cases made from the others."""

    cases: list[dict[str, Any]]
    training: dict[str, list[list[Combination]]]


def make_split() -> Split:
    """The same split every time: the order of combinations is drawn from SEED."""
    split = Split([], {})
    database = shop.open_database()
    for category, selects in (("easy", language.EASY), ("hard", language.HARD)):
        rng = random.Random(f"{SEED} {category}")
        piles = [shuffled(rng, language.combinations(select)) for select in selects]
        split.cases.extend(take_cases(category, piles, rng, database))
        split.training[category] = piles
    return split


def shuffled(rng: random.Random, items: Sequence[Combination]) -> list[Combination]:
    """A new order that is the same in every Python version (``random.shuffle`` promises no such thing)."""
    return [item for _, item in sorted(((rng.random(), item) for item in items), key=lambda pair: pair[0])]


def take_cases(
    category: str, piles: list[list[Combination]], rng: random.Random, database: sqlite3.Connection
) -> list[dict[str, Any]]:
    """Move combinations from ``piles`` to test cases, one select after the other, until there are enough.

    At least half of every pile stays for training, so that every select is learned with several filters.
    """
    room = [len(pile) // 2 for pile in piles]
    cases: list[dict[str, Any]] = []
    while len(cases) < CASES_PER_CATEGORY:
        before = len(cases)
        for number, pile in enumerate(piles):
            if len(cases) == CASES_PER_CATEGORY or not room[number]:
                continue
            case = first_case(pile, rng, database)
            if case is not None:
                room[number] -= 1
                cases.append(test_case(f"{category}-{len(cases) + 1:02}", category, *case))
        if len(cases) == before:
            raise SystemExit(f"error: only {before} {category} cases tell right from wrong on this database")
    return cases


def first_case(
    pile: list[Combination], rng: random.Random, database: sqlite3.Connection
) -> tuple[Combination, str, str] | None:
    """The first combination for which some test values discriminate; it is removed from ``pile``."""
    for place, combination in enumerate(pile):
        for _ in range(12):
            values = [shop.pick(rng, shop.TEST_VALUES[item.kind]) for item in combination.filters]
            if discriminates(database, combination, values):
                del pile[place]
                phrasing = shop.pick(rng, combination.select.phrasings)
                return combination, combination.question(phrasing, values), combination.query(values)
    return None


def discriminates(database: sqlite3.Connection, combination: Combination, values: Sequence[Value]) -> bool:
    """Whether the reference answers something, and every near miss answers something else."""
    reference = combination.query(values)
    right = result(database, reference)
    if not right or right in ([(0,)], [(None,)]):
        return False
    if "LIMIT 1" in reference and any(result(database, tie) != right for tie in other_ends_of_ties(reference)):
        return False
    return all(result(database, wrong) != right for wrong in near_misses(combination, values))


def result(database: sqlite3.Connection, query: str) -> list[tuple[Any, ...]]:
    """The rows that a query finds, in an order that does not depend on the database."""
    return sorted(database.execute(query).fetchall(), key=repr)


def other_ends_of_ties(query: str) -> tuple[str, str]:
    """``query`` with equal rows put in either order: when the answers differ, the question has more than one."""
    return query.replace(" LIMIT 1", ", 1 LIMIT 1"), query.replace(" LIMIT 1", ", 1 DESC LIMIT 1")


NEAR = (
    (" > ", (" >= ", " < ")),
    (" < ", (" <= ", " > ")),
    ("AVG(", ("SUM(", "MAX(")),
    ("SUM(", ("COUNT(", "MAX(")),
    ("MAX(", ("MIN(", "AVG(")),
    ("MIN(", ("MAX(",)),
    (" DESC", ("",)),
    (" LIMIT 1", (" DESC LIMIT 1",)),
    ("NOT IN", ("IN",)),
)


def near_misses(combination: Combination, values: Sequence[Value]) -> Iterator[str]:
    """Queries that differ from the reference by one slip."""
    query = combination.query(values)
    for old, replacements in NEAR:
        for found in re.finditer(re.escape(old), query):
            if old == " LIMIT 1" and " DESC" in query:
                continue
            for new in replacements:
                yield query[: found.start()] + new + query[found.end() :]
    for place, item in enumerate(combination.filters):
        condition = item.condition.format(repr(values[place]))
        for around in (f" AND {condition}", f"{condition} AND ", f" WHERE {condition}", f" HAVING {condition}"):
            if around in query:
                yield query.replace(around, "")
                break
        for other in shop.all_values(item.kind):
            if other != values[place]:
                yield combination.query([*values[:place], other, *values[place + 1 :]])


def test_case(name: str, category: str, combination: Combination, question: str, query: str) -> dict[str, Any]:
    return {
        "id": name,
        "name": combination.name,
        "category": category,
        "system_prompt": SYSTEM_PROMPT,
        "user_prompt": question,
        "reference": query,
        "checks": [{"scorer": "sql_result", "fixture": "shop.sql", "query": query}],
    }


def training_rows(split: Split) -> list[dict[str, str]]:
    """Half easy, half hard; within a category every select equally often. No question twice."""
    rng = random.Random(f"{SEED} training")
    questions: dict[str, str] = {}
    while len(questions) < TRAINING_ROWS:
        category = ("easy", "hard")[len(questions) % 2]
        combination = shop.pick(rng, shop.pick(rng, split.training[category]))
        values = [shop.pick(rng, shop.TRAIN_VALUES[item.kind]) for item in combination.filters]
        question = combination.question(shop.pick(rng, combination.select.phrasings), values)
        questions.setdefault(question, combination.query(values))
    return [{"text": chat_text(question, query)} for question, query in questions.items()]


def chat_text(question: str, query: str) -> str:
    """Pseudo-ChatML, as in the datasets of existing experts; the trainer turns it into the base model's template."""
    turns = (("system", SYSTEM_PROMPT), ("user", question), ("assistant", query))
    return "\n".join(f"<|{role}|>\n{content}\n<|end|>" for role, content in turns)


def write_expert(folder: Path) -> None:
    """Write all files of the expert."""
    split = make_split()
    suite = {
        "test_suite": "shop",
        "version": "1.0",
        "description": "Questions over a small shop database, graded by running the answer's SQL.",
        "test_cases": split.cases,
    }
    lines = "".join(json.dumps(row) + "\n" for row in training_rows(split))
    write(folder / "manifest.json", json.dumps(MANIFEST, indent=2) + "\n")
    write(folder / "datasets" / "train.jsonl", lines)
    write(folder / "tests" / "test_cases.json", json.dumps(suite, indent=2) + "\n")
    write(folder / "tests" / "shop.sql", shop.as_sql())


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode("utf-8"))


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the example expert.")
    parser.add_argument("--output", type=Path, default=Path(__file__).resolve().parent / "shop", help="its folder")
    write_expert(parser.parse_args().output)


if __name__ == "__main__":
    main()
