"""Reads reports of every age as if they were of today: schema 1, and those that the host's old script wrote.

Documents on disk are left as they are; what follows from the cases (rates, intervals) is worked out when they are read.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import orjson
from pydantic import ValidationError

from sidestep.evaluator.results.counting import count_by_category, count_results
from sidestep.evaluator.results.report import InvalidReport, Report
from sidestep.evaluator.statistics import wilson
from sidestep.shared.protocol.identity import CheckpointKey, Identity, identity_document
from sidestep.shared.protocol.layout import checkpoint_step
from sidestep.shared.protocol.outcomes import SCHEMA_VERSION

LEGACY = "legacy"  # stands for the hashes of what the host's old reports do not say


def parse_report(content: bytes) -> Report:
    """A report from a file, whichever version wrote it. Raises InvalidReport."""
    document = _load(content)
    version = document.get("schema_version", 0)
    if not isinstance(version, int) or version > SCHEMA_VERSION:
        raise InvalidReport(f"schema_version {version} is newer than this Sidestep, which knows {SCHEMA_VERSION}")
    if "identity" not in document:
        document = _from_legacy(document)
    try:
        report = Report.from_dict(document)
    except ValidationError as error:
        first = error.errors()[0]
        raise InvalidReport(f"{'.'.join(map(str, first['loc'])) or 'document'}: {first['msg']}") from error
    return report if version == SCHEMA_VERSION else _complete(report)


def is_legacy(report: Report) -> bool:
    """Whether the host's old script wrote it. Such a report is never rewritten: it may hold keys of its own."""
    return report.identity.key.files_hash == LEGACY


def _load(content: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(content)
    except orjson.JSONDecodeError:
        try:
            document = json.loads(content)  # knows NaN, which Python's own writer puts into files
        except (ValueError, RecursionError) as error:
            raise InvalidReport(f"document: {error}") from error
    if not isinstance(document, dict):
        raise InvalidReport("document: is not a JSON object")
    return document


def _from_legacy(document: dict[str, Any]) -> dict[str, Any]:
    """The host's report with the keys that it lacks: who it is, and what its cases would be called today."""
    name = document.get("checkpoint")
    step = document.get("step", checkpoint_step(name) if isinstance(name, str) else None)
    if not isinstance(name, str) or not isinstance(step, int):
        raise InvalidReport("checkpoint: is missing or does not name a step")
    identity = Identity(CheckpointKey(str(document.get("model_folder", "")), step, LEGACY), LEGACY, LEGACY)
    timestamp = str(document.get("timestamp", ""))
    cases = document.get("test_cases") or []
    return {
        **document,
        "step": step,
        "timestamp": timestamp,
        "identity": identity_document(identity),
        "timing": {"finished_at": timestamp},
        "test_cases": [_legacy_case(case) for case in cases if isinstance(case, dict)],
    }


def _legacy_case(case: dict[str, Any]) -> dict[str, Any]:
    identifier = str(case.get("id") or case.get("name") or "")
    score = case.get("score")
    return {
        "output": "",
        **{key: value for key, value in case.items() if value is not None},
        "score": score if isinstance(score, (int, float)) and math.isfinite(score) else None,
        "id": identifier,
        "name": str(case.get("name") or identifier),
    }


def _complete(report: Report) -> Report:
    """With the rates and intervals that later versions write. Counts stay as they were where there are no cases."""
    counts = report.test_results
    if report.test_cases:
        counts = count_results(report.test_cases)
    elif counts.passed + counts.failed:
        counts = replace(counts, interval=wilson(counts.passed, counts.passed + counts.failed))
    return replace(
        report,
        schema_version=SCHEMA_VERSION,
        test_results=counts,
        categories=count_by_category(report.test_cases) if report.test_cases else report.categories,
    )
