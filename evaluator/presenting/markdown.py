"""``report.md``: the report for people. Everything a model or a manifest says is made inert here.

A case is called by its id everywhere, so that a row of the table, a comparison and an answer find each other. Model
output can contain HTML, links, table pipes, code fences, terminal escapes and direction overrides; none of them
may have an effect in a renderer or a terminal.
"""

from __future__ import annotations

import re
import unicodedata

from sidestep.evaluator.cases.result import CaseResult
from sidestep.evaluator.results.counting import TestResults
from sidestep.evaluator.results.evidence import LlmJudgeEntry, MeasureEntry
from sidestep.evaluator.results.report import ComparisonEntry, Report

SHOWN_CHARACTERS = 500

# What can start a span, a link, an entity, a cell or an automatic link inside a line; lines never start with such text.
_MARKDOWN = re.compile(r"([\\`*_\[\]<>|~&@$]|(?<=www)\.|:(?=//))", re.IGNORECASE)
_KEPT = {"\n", "\t"}


def visible(text: str) -> str:
    """Text in which control, format (direction) and surrogate characters are written as escapes."""
    return "".join(_escape(character) if _is_invisible(character) else character for character in text)


def _is_invisible(character: str) -> bool:
    return character not in _KEPT and unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")


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
        f"- Success rate: {_rate(counts)} ({counts.passed} of {counts.passed + counts.failed} decided cases)",
        f"- Cases: {counts.total}, of which {counts.unscored} unscored, {counts.expected_failures} expected failures, "
        f"{counts.unexpected_passes} unexpected passes",
    ]
    lines += [
        f"- {inline(name)}: {_rate(category)} ({category.passed} of {category.passed + category.failed})"
        for name, category in report.categories.items()
    ]
    if counts.weighted:
        low, high = counts.weighted.interval.low, counts.weighted.interval.high
        lines.append(
            f"- By weight: {counts.weighted.rate:.1%}, {low:.1%} to {high:.1%}, "
            f"worth {counts.weighted.effective_cases:.1f} equal cases"
        )
    if training.loss is not None:
        lines.append(f"- Training loss at this step: {training.loss:.4f}")
    if timing.latency_seconds is not None:
        lines.append(f"- From marker to report: {timing.latency_seconds:.1f} s")
    if report.pass_at_k:
        lines.append("- " + ", ".join(f"pass@{k} {rate:.1%}" for k, rate in report.pass_at_k.items()))
    if report.judge:
        lines.append(f"- {_llm_judge(report.judge)}")
    lines.append(f"- Evaluated on {inline(report.environment.device)} in {inline(report.environment.dtype)}")
    return "\n".join(lines)


def _llm_judge(entry: LlmJudgeEntry) -> str:
    """Which language model graded answers, and how far to believe it."""
    shown = f"Judged by {inline(entry.judge)}: {entry.judged} cases"
    if entry.undecided:
        shown += f", {entry.undecided} undecided"
    if entry.agreement is None:
        return f"{shown}; no case has other checks to compare it with"
    shown += f"; agrees with the other checks on {entry.agreed} of {entry.compared} cases ({entry.agreement:.0%}"
    return shown + (f", kappa {entry.kappa:.2f})" if entry.kappa is not None else ")")


def _comparisons(report: Report) -> list[str]:
    titles = {
        "previous": "previous checkpoint",
        "best": "best checkpoint so far",
        "base": "base model without adapter",
        "previous_version": "last checkpoint of the previous version",
        "previous_version_best": "best checkpoint of the previous version",
    }
    return [_comparison(titles[name], report.comparisons[name]) for name in titles if name in report.comparisons]


def _comparison(title: str, entry: ComparisonEntry) -> str:
    named = f"{inline(entry.against)} {inline(entry.against_version)}".strip()
    lines = [
        f"## Compared with the {title} ({named})",
        "",
        *([f"- **Verdict: {inline(entry.verdict.sentence)}**"] if entry.verdict else []),
        f"- Success rate: {entry.rate_before:.1%} → {entry.rate_after:.1%} over {entry.compared_cases} cases",
    ]
    if entry.verdict and entry.verdict.interval:
        low, high = entry.verdict.interval.low, entry.verdict.interval.high
        lines.append(f"- Difference: {entry.verdict.difference:+.1%} (95 %: {low:+.1%} to {high:+.1%})")
    lines += _measures(entry)
    groups = {
        "Newly broken": entry.new_failures,
        "Newly fixed": entry.fixed_failures,
        "Better score": entry.improved_tests,
        "Worse score": entry.regressed_tests,
        "Passes unexpectedly": entry.unexpected_passes,
        "Fails again as expected": entry.expected_failures,
    }
    lines += [f"- {name}: {', '.join(map(inline, cases))}" for name, cases in groups.items() if cases]
    lines += [f"- Note: {inline(note)}" for note in entry.notes]
    return "\n".join(lines)


def _measures(entry: ComparisonEntry) -> list[str]:
    """Scores, likelihood, and the categories of which something can be said."""
    measures = {"Mean score": entry.score, "Log-probability of the reference answers": entry.likelihood}
    lines = [f"- {name}: {_measure(measure)}" for name, measure in measures.items() if measure]
    return lines + [
        f"- Category {inline(name)}: {change.word}, {change.broken} broken and {change.fixed} fixed "
        f"of {change.compared_cases} (adjusted p = {change.adjusted_p_value:.2g})"
        for name, change in entry.categories.items()
        if len(entry.categories) > 1 and change.broken + change.fixed
    ]


def _measure(entry: MeasureEntry) -> str:
    shown = f"{entry.difference:+.3g}"
    if entry.interval:
        shown += f" (95 %: {entry.interval.low:+.3g} to {entry.interval.high:+.3g})"
    return f"{shown}, {entry.word}"


def _rate(counts: TestResults) -> str:
    shown = f"{counts.success_rate:.1%}"
    if counts.interval:
        shown += f", 95 % interval {counts.interval.low:.1%} to {counts.interval.high:.1%}"
    return shown


def _table(report: Report) -> str:
    rows = [_row(case) for case in report.test_cases]
    head = "| Case | Category | Status | Score | Found keywords | Detail |"
    return "\n".join(["## Cases", "", head, "|---|---|---|---|---|---|", *rows])


def _row(case: CaseResult) -> str:
    score = "" if case.score is None else f"{case.score:.1f}"
    found = ", ".join(map(inline, case.keywords_found))
    detail = "; ".join(inline(check.detail) for check in case.checks if not check.passed)
    return f"| {inline(case.id)} | {inline(case.category)} | {case.status.value} | {score} | {found} | {detail} |"


def _outputs(report: Report) -> list[str]:
    return ["## Answers", *map(_output, report.test_cases)]


def _output(case: CaseResult) -> str:
    """One answer under its case's id, with the case's name where it has another one."""
    name = [f"Name: {inline(case.name)}"] if case.name != case.id else []
    return "\n\n".join([f"### {inline(case.id)}", *name, block(case.output)])
