"""One meaning per word, and plain English: what of docs/glossary.md can be held mechanically."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pytest

from sidestep.evaluator.cases.result import CaseStatus
from sidestep.shared.protocol.outcomes import Outcome

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDERS = ("trainer", "evaluator", "shared", "tests", "benchmarks", "examples")
DOCUMENTS = [
    *sorted((REPOSITORY / "docs").rglob("*.md")),
    *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")),
]
GLOSSARY = REPOSITORY / "docs" / "glossary.md"

# Beginnings of paths that still have a loop variable "each", an old name, or one of the PHRASES. Empty in the end.
UNFINISHED_LOOPS: tuple[str, ...] = ()
UNFINISHED_NAMES: tuple[str, ...] = ()
UNFINISHED_PHRASES: tuple[str, ...] = ()
# Files that are left alone, and why.
KEPT_PHRASES = {
    "tests/unit/test_words.py": "the phrases themselves",
    "evaluator/suite/scorers/llm_grade.py": "a judge's instructions are part of every suite's hash",
}

# Classes of the same name, and why: what one side writes and the other reads, defined on both.
SAME_NAME = {
    "Advice": "the evaluator writes advice.json; the trainer reads it without the evaluator's packages",
    "OutcomeRecord": "outcome.json as shared/ reads and writes it, and its published schema",
}
# Names that had several meanings, or are from a dialect of our own, and what is said instead.
OLD_NAMES = {
    "Verdict": "VerdictWord (a comparison), Grade (an LLM's reply), FailureKind (a failure)",
    "verdict_in": "parse_grade",
    "Unjudged": "NoGrade",
    "judge_flips": "assess_flips",
    "View": "Snapshot (of the governor), page data (of the dashboard)",
    "view_document": "page_data",
    "live_view": "show_live_display",
    "_Pace": "TrainingMetrics",
    "between_steps": "on_step",
    "BetweenSteps": "OnStep",
    "in_landing_order": "sort_by_time",
    "is_supported": "why_unsupported",
}
# Parts of names (of trickle_rate, BurstAccount, …) that none may have.
OLD_PARTS = {
    "trickle": "duty cycle",
    "company": "batch composition",
    "stranger": "untrusted input",
    "strangers": "untrusted input",
    "weigh": "set_priority",
    "landed": "on_report, committed",
    "unjudged": "NoGrade",
}
# What nobody who grew up with English would write, or what names a thing by the word of another one.
PHRASES = {
    r"(?<!\b[Tt]here )\b(?:is|are|was|were|be) no (?!longer|more|less|better|worse|faster|slower|reason|need|way)": (
        "is not a …"
    ),
    r"\b(?:holds?|names?|knows?|contains?|says?) no (?=[a-z])": "does not hold, name, … a …",
    r"\bstand(?:s|ing)?\b(?! for\b| still\b| in for\b|-)": "is, is listed, is given",
    r"\bof like\b": "of similar, of the same",
    r"\bstrangers?\b": "untrusted input, other people",
    r"\b(?:in|another) company\b": "batch composition, whatever else is in the batch",
    r"\btrickles?\b|\bburst account\b": "duty cycle, slowdown budget",
    r"\breports? (?:that )?(?:lands?|landed)\b|\bhas landed\b|\breports have landed\b": "is committed",
    r"\bverdicts? (?:flips?|differs?)\b|\bflipped verdicts\b|\banswer's verdict\b": (
        "result; verdicts are of comparisons"
    ),
    r"\b(?:live|derived|other) views?\b": "live display, derived files",
    r"\bhand(?:s|ed)? on\b": "passes on, claims",
    r"\breported apart\b|\bstands? apart\b": "reported separately, not counted",
}


def python_files() -> list[Path]:
    found = [path for folder in FOLDERS for path in sorted((REPOSITORY / folder).rglob("*.py"))]
    return [*found, REPOSITORY / "sidestep" / "__init__.py", REPOSITORY / "expert_trainer.py"]


def name_of(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def bound_names(source: str) -> Iterator[tuple[int, str]]:
    """Every name that a file gives to something, with its line."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.lineno, node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.alias) and node.asname:
            yield node.lineno, node.asname


def parts_of(name: str) -> list[str]:
    """The words of a name: ``_parse_URLs`` and ``ParseUrls`` are made of "parse" and "urls"."""
    return [part.lower() for part in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]


def old_names(source: str) -> list[str]:
    """What is wrong with the names in a file."""
    wrong = []
    for line, name in bound_names(source):
        if name in OLD_NAMES:
            wrong.append(f"{line}: {name}; say {OLD_NAMES[name]}")
        wrong += [f"{line}: {name}; say {OLD_PARTS[part]}" for part in parts_of(name) if part in OLD_PARTS]
    return wrong


def texts_of(source: str) -> Iterator[tuple[int, str]]:
    """Messages, docstrings and comments of a Python file, with their lines."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def phrases_in(texts: Iterable[tuple[int, str]]) -> list[str]:
    """What should be said in other words, with its line and what to say."""
    return [
        f"{line + text.count(chr(10), 0, found.start())}: {found[0]!r}; say {better!r}"
        for line, text in texts
        for pattern, better in PHRASES.items()
        for found in re.finditer(pattern, text)
    ]


def without(unfinished: Sequence[str], wrong: dict[str, list[str]]) -> dict[str, list[str]]:
    """What is wrong outside of the unfinished folders; each of these must still have something that is."""
    finished = [prefix for prefix in unfinished if not any(name.startswith(prefix) for name in wrong)]
    assert finished == [], "take these off the list"
    return {name: found for name, found in wrong.items() if not name.startswith(tuple(unfinished))}


def glossary_rows() -> list[tuple[str, str, str]]:
    """Word, meaning and what is in the code, of every row."""
    rows = [
        line.strip("| ").split(" | ") for line in GLOSSARY.read_text(encoding="utf-8").splitlines() if line[:2] == "| "
    ]
    return [(word, meaning, code) for word, meaning, code in rows[1:]]


def names_in_the_code() -> set[str]:
    """Names of classes, functions, methods, fields, constants and modules."""
    paths = [path for folder in ("trainer", "evaluator", "shared") for path in (REPOSITORY / folder).rglob("*.py")]
    return {name for path in paths for _, name in bound_names(path.read_text(encoding="utf-8"))} | {
        path.stem for path in paths
    }


def public_classes() -> dict[str, list[str]]:
    """Where classes of each name are defined."""
    found: dict[str, list[str]] = {}
    for path in python_files():
        if name_of(path).startswith(("trainer/", "evaluator/", "shared/")):
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    found.setdefault(node.name, []).append(name_of(path))
    return found


def test_the_glossary_has_one_row_for_each_word() -> None:
    words = [word for word, _, _ in glossary_rows()]
    assert words == sorted(words)
    assert len(set(words)) == len(words) > 80


def test_the_glossary_names_what_is_in_the_code() -> None:
    known = names_in_the_code()
    missing = {
        word: lost
        for word, _, code in glossary_rows()
        if (lost := [name for name in re.findall(r"`([^`]+)`", code) if name not in known])
    }
    assert missing == {}


def test_the_glossary_names_every_outcome_and_status() -> None:
    meanings = {word: meaning for word, meaning, _ in glossary_rows()}
    assert re.findall(r"`(\w+)`", meanings["outcome"]) == [outcome.value for outcome in Outcome]
    assert re.findall(r"`(\w+)`", meanings["status"]) == [status.value for status in CaseStatus]


def test_no_two_classes_have_the_same_name() -> None:
    assert {name for name, places in public_classes().items() if len(places) > 1} == set(SAME_NAME)


def test_loop_variables_say_what_they_hold() -> None:
    wrong = {}
    for path in python_files():
        lines = [f"line {line}" for line, name in bound_names(path.read_text(encoding="utf-8")) if name == "each"]
        if lines:
            wrong[name_of(path)] = lines
    assert without(UNFINISHED_LOOPS, wrong) == {}


def test_loop_variables_of_the_page_do_too() -> None:
    scripts = sorted((REPOSITORY / "evaluator" / "presenting" / "dashboard" / "assets").glob("*.js"))
    assert scripts
    binding = re.compile(r"\b(?:const|let) each\b|\(each\b|\beach(?=,? ?[^ =]*\) ?=>)|\beach =>")
    assert [name_of(path) for path in scripts if binding.search(path.read_text(encoding="utf-8"))] == []


def test_no_name_has_an_old_meaning() -> None:
    wrong = {name_of(path): old_names(path.read_text(encoding="utf-8")) for path in python_files()}
    assert without(UNFINISHED_NAMES, {name: found for name, found in wrong.items() if found}) == {}


def test_messages_comments_and_documents_are_plain_english() -> None:
    wrong = {}
    for path in (*python_files(), *DOCUMENTS):
        if name_of(path) in KEPT_PHRASES:
            continue
        source = path.read_text(encoding="utf-8")
        texts = texts_of(source) if path.suffix == ".py" else enumerate(source.splitlines(), 1)
        if found := phrases_in(texts):
            wrong[name_of(path)] = found
    assert without(UNFINISHED_PHRASES, wrong) == {}


@pytest.mark.parametrize(
    "source",
    [
        "for each in []: pass",
        "[each for each in []]",
        "sorted([], key=lambda each: each)",
        "for number, each in []: pass",
        "with open('a') as each: pass",
    ],
)
def test_a_loop_variable_is_seen(source: str) -> None:
    assert "each" in [name for _, name in bound_names(source)]


@pytest.mark.parametrize(
    "source", ["class View: pass", "def weigh(x): pass", "a.trickle_rate = 1", "FROM_STRANGERS = 1"]
)
def test_an_old_name_is_seen(source: str) -> None:
    assert old_names(source)


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("x is no folder", True),
        ("there is no folder", False),
        ("it is no longer there", False),
        ("the file holds no object", True),
        ("what stands in the file", True),
        ("a letter that stands for a word; a fake stands in for it; all stands still; a stand-in", False),
        ("rows of like length", True),
        ("the standard", False),
    ],
)
def test_a_phrase_is_seen(text: str, seen: bool) -> None:
    assert bool(phrases_in([(1, text)])) is seen
