"""The test cases as they were asked: ``suites/<hash>.json``, once for each suite, for whoever shows answers.

Reports hold answers and results. The prompts are the same for every checkpoint and may change later in the file
they came from, so they are kept here, once, under the suite's hash.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

import orjson

from sidestep.evaluator.cases.case import Suite
from sidestep.shared.files import read_bounded, replace_file, to_json
from sidestep.shared.protocol.layout import ReportsFolder

MAX_SUITE_BYTES = 256 << 20
_HASH = re.compile(r"[0-9a-f]{64}")


def keep_suite(reports: ReportsFolder, suite: Suite) -> None:
    """Write the suite's cases unless they are there. Raises OSError when the folder cannot be written."""
    path = reports.suites / f"{suite.sha256}.json"
    if not _HASH.fullmatch(suite.sha256) or path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, to_json(_document(suite)))


def _document(suite: Suite) -> dict[str, Any]:
    return {
        "name": suite.name,
        "version": suite.version,
        "sha256": suite.sha256,
        "cases": {
            case.id: {
                "messages": [{"role": message.role, "content": message.content} for message in case.messages],
                "reference": case.reference,
                "checks": [{"scorer": check.scorer, **check.parameters} for check in case.checks],
            }
            for case in suite.cases
        },
    }


def kept_suites(reports: ReportsFolder) -> list[str]:
    """Hashes of the suites that are kept, sorted."""
    return sorted(path.stem for path in reports.suites.glob("*.json") if _HASH.fullmatch(path.stem))


def read_suite(reports: ReportsFolder, sha256: str) -> dict[str, Any] | None:
    """What ``keep_suite`` wrote, or None when it is not there or cannot be read."""
    if not _HASH.fullmatch(sha256):
        return None
    with suppress(OSError, orjson.JSONDecodeError):
        document = orjson.loads(read_bounded(reports.suites / f"{sha256}.json", MAX_SUITE_BYTES))
        return document if isinstance(document, dict) else None
    return None
