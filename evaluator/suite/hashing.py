"""Names for what is asked: a changed case, check or fixture is another case and another suite."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import orjson

from sidestep.evaluator.cases.case import Case
from sidestep.evaluator.suite.scorers import SCORERS


def case_hash(case: Case) -> str:
    """Names what a case asks and expects, so that a changed case with an old id is not compared with its past.

    Its name, its category and why it may fail do not count.
    """
    relevant = {
        "id": case.id,
        "messages": [{"role": message.role, "content": message.content} for message in case.messages],
        "checks": [{"scorer": check.scorer, "parameters": check.parameters} for check in case.checks],
        "may_fail": case.may_fail,
        "weight": case.weight,
        "reference": case.reference,
        "expected_keywords": case.expected_keywords,
        "max_new_tokens": case.max_new_tokens,
    }
    return hashlib.sha256(orjson.dumps(relevant, option=orjson.OPT_SORT_KEYS, default=dict)).hexdigest()


def suite_hash(cases: Iterable[Case], folder: Path) -> str:
    """Over everything that can change a result: cases, checks, and the contents of their fixtures in ``folder``."""
    digest = hashlib.sha256()
    for case in cases:
        digest.update(case_hash(case).encode())
        for check in case.checks:
            for key in SCORERS[check.scorer].files:
                if check.parameters.get(key) is not None:
                    digest.update(_fixture_digest(folder / str(check.parameters[key])))
    return digest.hexdigest()


def _fixture_digest(fixture: Path) -> bytes:
    """Of a file's content, or of everything in a folder, with names."""
    if fixture.is_file():
        return hashlib.sha256(fixture.read_bytes()).digest()
    digest = hashlib.sha256()
    for path in sorted(fixture.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(f"{path.relative_to(fixture)}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.digest()
