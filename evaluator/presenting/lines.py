"""Lines: the checkpoints of one version on one base model, and who is compared with whom in them. Pure.

Which checkpoint is best, which one came before another, which base model they are measured against: all that is
decided here, by the functions that the reports' comparisons come from. Dashboard and terminal only look it up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sidestep.evaluator.comparing.advice import Advice, ModelAdvice
from sidestep.evaluator.comparing.comparison import base_of, best_of, earlier
from sidestep.evaluator.results.evidence import VerdictWord
from sidestep.evaluator.results.report import ComparisonEntry, Report
from sidestep.evaluator.results.store import StoredReport


@dataclass(frozen=True, kw_only=True)
class Line:
    """One version of the expert on one base model. ``members`` are by step, then by time, whatever their outcome.

    ``archived``: all of them have been replaced. ``best`` and ``last`` are evaluated ones; None where there are none.
    """

    name: str
    version: str
    model_folder: str
    archived: bool
    members: tuple[StoredReport, ...]
    base: StoredReport | None
    best: StoredReport | None
    last: StoredReport | None
    advice: ModelAdvice | None

    @property
    def evaluated(self) -> list[StoredReport]:
        return [member for member in self.members if member.report.evaluated]


@dataclass(frozen=True)
class Headline:
    """Whether a line is getting better, in words; ``tone`` is ``good``, ``bad`` or empty."""

    tone: str
    text: str


class Evaluations:
    """Finds the evaluation that a report's comparison names. Where one was repeated, the current one is meant."""

    def __init__(self, ordered: Sequence[StoredReport]) -> None:
        evaluated = [stored for stored in ordered if stored.report.evaluated]
        known = sorted(evaluated, key=lambda stored: not stored.archived)  # the current one of several comes last
        self._by_identity = {stored.report.identity.id: stored for stored in known}
        self._by_name = {(stored.report.checkpoint, stored.report.expert_version): stored for stored in known}

    def compared_with(self, entry: ComparisonEntry | None) -> StoredReport | None:
        """None where the comparison names nothing that is still there. Reports of old do not give an identity."""
        if entry is None:
            return None
        if entry.against_id:
            return self._by_identity.get(entry.against_id)
        return self._by_name.get((entry.against, entry.against_version))


def lines_of(ordered: Sequence[StoredReport], advice: Advice | None = None) -> list[Line]:
    """All lines, the one with the newest report first. ``ordered`` are all reports by time.

    A base model without any checkpoint is a line of its own.
    """
    groups: dict[tuple[str, str], list[StoredReport]] = {}
    for stored in ordered:
        if stored.report.step is not None:
            group = (stored.report.expert_version, stored.report.identity.key.model_folder)
            groups.setdefault(group, []).append(stored)
    newest_first = sorted(groups.items(), key=lambda group: finished(group[1][-1]), reverse=True)
    bases = [stored for stored in ordered if stored.report.step is None]
    evaluations = Evaluations(ordered)
    lines = [_line(version, model, members, bases, evaluations, advice) for (version, model), members in newest_first]
    return lines or [_line_of_base(base) for base in bases[-1:]]


def _line(
    version: str,
    model: str,
    members: Sequence[StoredReport],
    bases: Sequence[StoredReport],
    evaluations: Evaluations,
    advice: Advice | None,
) -> Line:
    members = sorted(members, key=lambda member: (_step(member), finished(member)))
    archived = all(member.archived for member in members)
    counting = [member for member in members if member.report.evaluated and member.archived is archived]
    last = counting[-1] if counting else None
    given = None if archived or advice is None else advice.models.get(model)
    given = given if given and given.expert_version == version else None
    return Line(
        name=f"{version} · {model}",
        version=version,
        model_folder=model,
        archived=archived,
        members=tuple(members),
        base=_base(last or members[-1], bases, evaluations),
        best=_best(counting, given),
        last=last,
        advice=given,
    )


def _line_of_base(base: StoredReport) -> Line:
    report = base.report
    return Line(
        name="base",
        version=report.expert_version,
        model_folder=report.identity.key.model_folder,
        archived=base.archived,
        members=(),
        base=base if report.evaluated else None,
        best=None,
        last=None,
        advice=None,
    )


def _base(last: StoredReport, bases: Sequence[StoredReport], evaluations: Evaluations) -> StoredReport | None:
    """The base model's evaluation that the line's last checkpoint was compared with, else the one that it would be."""
    named = evaluations.compared_with(last.report.comparisons.get("base"))
    if named:
        return named
    newest_first = list(reversed(bases))
    candidates = sorted(newest_first, key=lambda base: base.archived)
    return _stored(base_of(last.report, [base.report for base in candidates]), candidates)


def _best(counting: Sequence[StoredReport], advice: ModelAdvice | None) -> StoredReport | None:
    """The one that advice.json recommends, else the one that it would."""
    for member in counting if advice else ():
        key = member.report.identity.key
        if advice and (key.step, key.files_hash) == (advice.best.step, advice.best.files_hash):
            return member
    decided = [member.report for member in counting if is_decided(member.report)]
    return _stored(best_of(decided, decided[-1]), counting) if decided else None


def previous_of(stored: StoredReport, line: Line, evaluations: Evaluations) -> StoredReport | None:
    """What an evaluation is read beside: the checkpoint that its report calls the previous one, else the base model."""
    named = evaluations.compared_with(stored.report.comparisons.get("previous"))
    if named:
        return named
    candidates = [member for member in line.evaluated if member.archived is stored.archived]
    lower = earlier(stored.report, [member.report for member in candidates])
    found = _stored(lower[-1], candidates) if lower else line.base
    return found if found is not stored else None


def is_decided(report: Report) -> bool:
    """Whether any of its cases passed or failed, so that it has a success rate."""
    return report.evaluated and report.test_results.passed + report.test_results.failed > 0


def headline_of(line: Line) -> Headline | None:
    """Whether it is getting better, as far as the reports' verdicts and advice.json say; None where neither does."""
    if line.advice and line.advice.trend.word in ("rising", "falling"):
        rising = line.advice.trend.word == "rising"
        word = "Rising" if rising else "Falling"
        return Headline("good" if rising else "bad", f"{word} over {line.advice.trend.over_checkpoints} checkpoints")
    return _headline_of_verdicts(line.last.report.comparisons) if line.last else None


def _headline_of_verdicts(comparisons: Mapping[str, ComparisonEntry]) -> Headline | None:
    """Worse than anything counts first; among equals, the best checkpoint, then the previous one, then the base."""
    found = [(name, comparisons[name]) for name in ("best", "previous", "base") if name in comparisons]
    words = [(entry.verdict.word, name, entry.against) for name, entry in found if entry.verdict]
    for wanted, tone, text in ((VerdictWord.WORSE, "bad", "Worse than"), (VerdictWord.BETTER, "good", "Better than")):
        for word, name, against in words:
            if word is wanted:
                return Headline(tone, f"{text} {'the base model' if name == 'base' else against}")
    return Headline("", "No difference shown yet") if words else None


def _stored(report: Report | None, candidates: Sequence[StoredReport]) -> StoredReport | None:
    return next((stored for stored in candidates if stored.report is report), None)


def _step(stored: StoredReport) -> int:
    return -1 if stored.report.step is None else stored.report.step


def finished(stored: StoredReport) -> tuple[str, str]:
    """The order in which reports were finished; whether one has been archived since does not matter."""
    return stored.report.timing.finished_at, stored.report.identity.id
