"""The webhook: one POST for every checkpoint that has an outcome, with what somebody wants to read in a chat.

The outcome's id goes along as ``Idempotency-Key``: a POST whose answer was lost is sent once more.
"""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import Any

import httpx

from sidestep.evaluator.exporting.points import timestamp_of
from sidestep.evaluator.results.report import Report
from sidestep.shared.errors import ConfigError
from sidestep.shared.files import to_json

TOKEN_VARIABLE = "SIDESTEP_WEBHOOK_TOKEN"  # noqa: S105 - the name of a variable
TIMEOUT_SECONDS = 10.0
MAX_NAMED_CASES = 50


class Refused(Exception):
    """The receiver answered, and said no; asking again at once will not change that."""


def checked_url(url: str) -> str:
    """The same address. Raises ConfigError for what is not an HTTP address."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ConfigError(f"--webhook {url!r} is not an address: {error}") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ConfigError(
            f"--webhook {url!r} is not an address", hint="write it like https://example.org/hooks/sidestep"
        )
    return url


def summary_of(report: Report) -> dict[str, Any]:
    """The JSON that is sent (docs/integrations.md)."""
    counts, previous = report.test_results, report.comparisons.get("previous")
    verdict = previous.verdict if previous else None
    names = {case.id: case.name for case in report.test_cases}

    def cases(ids: tuple[str, ...]) -> list[dict[str, str]]:
        return [{"id": case, "name": names.get(case, case)} for case in ids[:MAX_NAMED_CASES]]

    return {
        "event": "checkpoint",
        "id": report.identity.id,
        "expert": report.expert_name,
        "version": report.expert_version,
        "checkpoint": report.checkpoint,
        "step": report.step,
        "outcome": report.outcome.value,
        "reason": report.reason,
        "finished_at": timestamp_of(report),
        "success_rate": counts.success_rate if counts.interval else None,
        "interval": asdict(counts.interval) if counts.interval else None,
        "passed": counts.passed,
        "failed": counts.failed,
        "train_loss": report.training.loss,
        "compared_with": previous.against if previous else None,
        "verdict": verdict.word.value if verdict else None,
        "sentence": verdict.sentence if verdict else None,
        "newly_broken": cases(previous.new_failures if previous else ()),
        "newly_fixed": cases(previous.fixed_failures if previous else ()),
    }


class Webhook:
    """Posts to one address. Redirects are not followed, so that nothing goes to another one."""

    def __init__(self, url: str) -> None:
        token = os.environ.get(TOKEN_VARIABLE)
        headers = {"Content-Type": "application/json", "User-Agent": "sidestep"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        self._url = url
        self._client = httpx.Client(timeout=TIMEOUT_SECONDS, headers=headers, follow_redirects=False)

    def post(self, report: Report) -> None:
        """Raises httpx.HTTPError where another try may help, Refused where it will not."""
        answer = self._client.post(
            self._url, content=to_json(summary_of(report)), headers={"Idempotency-Key": report.identity.id}
        )
        if answer.status_code == httpx.codes.TOO_MANY_REQUESTS or answer.is_server_error:
            answer.raise_for_status()
        if not answer.is_success:
            raise Refused(f"it answered {answer.status_code}")

    def close(self) -> None:
        self._client.close()
