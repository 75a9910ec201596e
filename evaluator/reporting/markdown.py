"""``report.md``: the report for people. Everything a model or a manifest says is made inert here.

Model output can contain HTML, links, table pipes, code fences, terminal escapes and direction overrides; none of them
may have an effect in a renderer or a terminal.
"""

from __future__ import annotations

import re
import unicodedata

from evaluator.reporting.report import CaseEntry, ComparisonEntry, Report

SHOWN_CHARACTERS = 500

# What can start a span, a link, an entity, a cell or an automatic link inside a line; lines never start with such text.
_MARKDOWN = re.compile(r"([\\`*_\[\]<>|~&@$]|(?<=www)\.|:(?=//))", re.IGNORECASE)
_KEPT = {"\n", "\t"}


def visible(text: str) -> str:
    """Text in which control, format (direction) and surrogate characters are written as escapes."""
    return "".join(
        each if each in _KEPT or unicodedata.category(each) not in ("Cc", "Cf", "Cs", "Zl", "Zp") else _escape(each)
        for each in text
    )


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def inline(text: str) -> str:
    """Text as plain text inside a line or a table cell of Markdown."""
    return _MARKDOWN.sub(r"\\\1", " ".join(visible(text).split()))


def block(text: str) -> str:
    """Text as an indented code block: no fence to close, nothing is interpreted."""
    shown = visible(text[:SHOWN_CHARACTERS])
    cut = f"\n… ({len(text) - SHOWN_CHARACTERS} more characters in report.json)" if len(text) > SHOWN_CHARACTERS else ""
    return "\n".join(f"    {line}" for line in (shown + cut).split("\n"))


def report_markdown(report: Report) -> str:
    """The whole page."""
    parts = [
        f"# {inline(report.checkpoint)} of {inline(report.expert_name)} {inline(report.expert_version)}",
        f"{report.timestamp}, outcome: {report.outcome.value}"
        + (f": {inline(report.reason)}" if report.reason else ""),
    ]
    if report.evaluated:
        parts += [_summary(report), *_comparisons(report), _table(report), *_outputs(report)]
    return "\n\n".join(parts) + "\n"


def _summary(report: Report) -> str:
    counts, training, timing = report.test_results, report.training, report.timing
    lines = [
        "## Summary",
        "",
        f"- Success rate: {counts.success_rate:.1%} ({counts.passed} of {counts.passed + counts.failed} decided cases)",
        f"- Cases: {counts.total}, of which {counts.unscored} unscored, {counts.expected_failures} expected failures, "
        f"{counts.unexpected_passes} unexpected passes",
    ]
    lines += [
        f"- {inline(name)}: {each.success_rate:.1%} ({each.passed} of {each.passed + each.failed})"
        for name, each in report.categories.items()
    ]
    if training.loss is not None:
        lines.append(f"- Training loss at this step: {training.loss:.4f}")
    if timing.latency_seconds is not None:
        lines.append(f"- From marker to report: {timing.latency_seconds:.1f} s")
    lines.append(f"- Evaluated on {inline(report.environment.device)} in {inline(report.environment.dtype)}")
    return "\n".join(lines)


def _comparisons(report: Report) -> list[str]:
    titles = {
        "previous": "previous checkpoint",
        "best": "best checkpoint so far",
        "base": "base model without adapter",
        "previous_version": "previous version",
    }
    return [_comparison(titles[name], report.comparisons[name]) for name in titles if name in report.comparisons]


def _comparison(title: str, entry: ComparisonEntry) -> str:
    named = f"{inline(entry.against)} {inline(entry.against_version)}".strip()
    lines = [
        f"## Compared with the {title} ({named})",
        "",
        f"- Success rate: {entry.rate_before:.1%} → {entry.rate_after:.1%} over {entry.compared_cases} cases",
    ]
    groups = {
        "Newly broken": entry.new_failures,
        "Newly fixed": entry.fixed_failures,
        "Better score": entry.improved_tests,
        "Worse score": entry.regressed_tests,
    }
    lines += [f"- {name}: {', '.join(map(inline, cases))}" for name, cases in groups.items() if cases]
    lines += [f"- Note: {inline(note)}" for note in entry.notes]
    return "\n".join(lines)


def _table(report: Report) -> str:
    rows = [_row(case) for case in report.test_cases]
    head = "| Case | Category | Status | Score | Found keywords | Detail |"
    return "\n".join(["## Cases", "", head, "|---|---|---|---|---|---|", *rows])


def _row(case: CaseEntry) -> str:
    score = "" if case.score is None else f"{case.score:.1f}"
    found = ", ".join(map(inline, case.keywords_found))
    detail = "; ".join(inline(check.detail) for check in case.checks if not check.passed)
    return f"| {inline(case.name)} | {inline(case.category)} | {case.status.value} | {score} | {found} | {detail} |"


def _outputs(report: Report) -> list[str]:
    return ["## Answers"] + [f"### {inline(case.id)}\n\n{block(case.output)}" for case in report.test_cases]
