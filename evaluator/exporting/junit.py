"""JUnit XML: what continuous integration shows. One test suite per checkpoint, one test per case.

A newly broken case fails with the type ``regression``, a case that failed before with ``failed``; unscored cases and
expected failures are skipped, with the reason.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from junitparser import Error, Failure, JUnitXml, Properties, Property, Skipped, TestCase, TestSuite

from sidestep.evaluator.cases.result import CaseResult, CaseStatus
from sidestep.evaluator.presenting.markdown import visible
from sidestep.evaluator.results.report import Report
from sidestep.shared.errors import ReportsFolderError
from sidestep.shared.files import replace_file

_SKIPPED = {
    CaseStatus.UNSCORED: "unscored: nothing in this case can be decided",
    CaseStatus.EXPECTED_FAILURE: "expected failure",
}


def write_junit(path: Path, reports: Sequence[Report]) -> None:
    """Write the file atomically. Raises ReportsFolderError when that is impossible."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path.absolute(), junit_xml(reports))
    except OSError as error:
        raise ReportsFolderError(f"{path} cannot be written: {error.strerror}", hint="give another --junit") from error


def junit_xml(reports: Sequence[Report]) -> bytes:
    """The document. What a model said is text in it: characters that XML does not have are written as escapes."""
    document = JUnitXml("sidestep")
    for report in reports:
        suite = TestSuite(_text(f"{report.expert_name} {report.expert_version} {report.checkpoint}"))
        suite.timestamp = report.timing.finished_at
        for name, value in _properties(report).items():
            suite.add_property(name, _text(value))
        suite.add_testcases([_case(case, report) for case in report.test_cases] or [_outcome(report)])
        document.add_testsuite(suite)
    buffer = io.BytesIO()
    document.write(buffer)
    return buffer.getvalue()


def _properties(report: Report) -> dict[str, str]:
    counts, found = report.test_results, {"outcome": report.outcome.value, "suite_sha256": report.suite.sha256}
    if counts.interval:
        found["success_rate"] = f"{counts.success_rate:.4f}"
        found["success_rate_95"] = f"{counts.interval.low:.4f} to {counts.interval.high:.4f}"
    for name, entry in report.comparisons.items():
        if entry.verdict:
            found[f"verdict_against_{name}"] = f"{entry.against}: {entry.verdict.sentence or entry.verdict.word.value}"
    return found


def _case(case: CaseResult, report: Report) -> TestCase:
    test = TestCase(_text(case.id), classname=_text(case.category or "uncategorised"), time=round(case.seconds, 3))
    details = "; ".join(f"{check.scorer}: {check.detail}" for check in case.checks if not check.passed)
    if case.status is CaseStatus.FAILED:
        regression = case.id in report.comparison.new_failures
        message = f"newly broken: {details}" if regression else details
        failure = Failure(_text(message)[:500], "regression" if regression else "failed")
        failure.text = _text(case.output)
        test.result = [failure]
    elif case.status in _SKIPPED:
        test.result = [Skipped(_text(case.failure_reason or _SKIPPED[case.status])[:500])]
    elif case.status is CaseStatus.UNEXPECTED_PASS:
        properties = Properties()
        properties.add_property(Property("note", "passes, although it is marked may_fail"))
        test.append(properties)
    return test


def _outcome(report: Report) -> TestCase:
    """A checkpoint without cases: why, as an error, or as skipped when there was nothing to test."""
    test = TestCase("evaluation", classname="sidestep")
    reason = _text(report.reason or report.outcome.value)[:500]
    test.result = [Skipped(reason) if report.outcome.value == "skipped" else Error(reason, report.outcome.value)]
    return test


def _text(text: str) -> str:
    """What XML 1.0 can hold; ``visible`` has already dealt with controls and surrogates."""
    return visible(text).replace("\ufffe", "\ufffd").replace("\uffff", "\ufffd")
