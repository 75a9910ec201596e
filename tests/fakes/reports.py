from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sidestep.evaluator.cases.exchange import EngineInfo
from sidestep.evaluator.cases.result import CaseResult, CaseStatus
from sidestep.evaluator.results.counting import count_by_category, count_results
from sidestep.evaluator.results.report import Report, TimingEntry
from sidestep.shared.protocol.identity import CheckpointKey, Identity

PASS, FAIL = CaseStatus.PASSED, CaseStatus.FAILED


def make_report(
    step: int | None,
    statuses: Mapping[str, CaseStatus | tuple[CaseStatus, float | None]],
    *,
    version: str = "1",
    salt: str = "",
    **more: Any,
) -> Report:
    """A report over cases given as status, or status and score."""
    cases = tuple(_case(name, status) for name, status in statuses.items())
    suite, decoding = more.pop("suite_hash", "s"), more.pop("decoding_hash", "d")
    identity = Identity(CheckpointKey("tiny", step, f"m{step}{version}{salt}"), suite, decoding)
    return Report(
        checkpoint=identity.label,
        step=step,
        expert_name="shop",
        expert_version=version,
        test_cases=cases,
        test_results=count_results(cases),
        categories=count_by_category(cases),
        identity=identity,
        environment=more.pop("environment", EngineInfo(device="cpu", dtype="float32")),
        timing=TimingEntry(finished_at=more.pop("finished_at", f"2026-01-0{version[0]}T00:00:{step or 0:02}")),
        **more,
    )  # fmt: skip


def _case(name: str, given: CaseStatus | tuple[CaseStatus, float | None]) -> CaseResult:
    status, score = given if isinstance(given, tuple) else (given, 10.0 if given is PASS else 0.0)
    return CaseResult(id=name, name=name, status=status, score=score, output=f"answer of {name}", definition_hash=name)
