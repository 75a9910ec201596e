"""Suites people already have: promptfoo's configuration, chat messages, YAML; refusals name their place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from sidestep.evaluator.cases.case import Message
from sidestep.evaluator.suite.loading import load_suite
from sidestep.evaluator.suite.mistakes import find_mistakes
from sidestep.evaluator.suite.scorers import Context
from sidestep.evaluator.suite.scoring import run_check
from sidestep.shared.errors import SuiteError


def _promptfoo(folder: Path, **document: Any) -> Path:
    path = folder / "promptfooconfig.yaml"
    path.write_text(yaml.safe_dump({"prompts": ["Say {{what}}."], **document}, sort_keys=False))
    return path


def _passes(folder: Path, answer: str, *asserts: dict[str, Any]) -> bool:
    suite = load_suite(_promptfoo(folder, tests=[{"vars": {"what": "it"}, "assert": list(asserts)}]))
    return all(run_check(check, answer, Context(folder)).passed for check in suite.cases[0].checks)


@pytest.mark.parametrize(
    ("kind", "value", "good", "bad"),
    [
        ("contains", "B", "a B", "a b"),
        ("icontains", "B", "a b", "a c"),
        ("contains-all", ["a", "b"], "b a", "a"),
        ("contains-any", "x, b", "b", "a"),
        ("icontains-all", ["A", "B"], "ab", "a"),
        ("icontains-any", ["A", "B"], "b", "c"),
        ("equals", "yes", "yes", "yes!"),
        ("equals", {"a": 1}, '{"a": 1}', '{"a": 2}'),
        ("starts-with", "Ye", "Yes", "yes"),
        ("regex", "^[0-9]+$", "12", "12a"),
        ("is-json", None, "[1]", "[1"),
        ("is-json", {"type": "object", "required": ["a"]}, '{"a": 1}', "{}"),
        ("is-xml", None, "<a/>", "<a>"),
        ("is-sql", None, "SELECT 1", "hello there"),
        ("contains", "{{what}}", "say it", "say"),
    ],
)
def test_asserts(tmp_path: Path, kind: str, value: Any, good: str, bad: str) -> None:
    given = {"type": kind} | ({} if value is None else {"value": value})
    assert (_passes(tmp_path, good, given), _passes(tmp_path, bad, given)) == (True, False)
    negated = {**given, "type": f"not-{kind}"}
    assert (_passes(tmp_path, good, negated), _passes(tmp_path, bad, negated)) == (False, True)


def test_a_check_that_cannot_be_scored_fails_also_when_negated(tmp_path: Path) -> None:
    assert not _passes(tmp_path, "x", {"type": "not-regex", "value": "("})


def test_every_prompt_with_every_test(tmp_path: Path) -> None:
    path = _promptfoo(
        tmp_path,
        prompts=["Say {{what}}.", "file://chat.json"],
        providers=["openai:gpt"],
        defaultTest={"vars": {"end": "!"}, "assert": [{"type": "contains", "value": "{{end}}"}]},
        tests=[
            {"description": "first", "vars": {"what": "{{end}}{{end}}"}, "metadata": {"category": "c"}},
            {"vars": {"what": ["a", "b"]}},
        ],
    )
    (tmp_path / "chat.json").write_text('[{"role": "system", "content": "s"}, {"role": "user", "content": "{{what}}"}]')
    suite = load_suite(path)
    assert [case.id for case in suite.cases] == [
        "test-1-prompt-1", "test-1-prompt-2", "test-2-prompt-1-a", "test-2-prompt-2-a",
        "test-2-prompt-1-b", "test-2-prompt-2-b",
    ]  # fmt: skip
    first, second = suite.cases[:2]
    assert (first.name, first.category) == ("first", "c")
    assert first.messages == (Message("user", "Say !!."),)
    assert second.messages == (Message("system", "s"), Message("user", "!!"))
    assert {len(case.checks) for case in suite.cases} == {1}


@pytest.mark.parametrize(
    ("test", "message"),
    [
        ({"assert": [{"type": "javascript", "value": "1"}]}, r"tests\[0\]: assert javascript is not supported"),
        ({"assert": [{"type": "python", "value": "1"}]}, "assert python is not supported"),
        ({"assert": [{"type": "similar", "value": "x"}]}, "assert similar is not supported"),
        ({"assert": [{"type": "contains", "value": "x", "transform": "y"}]}, "contains with transform is not"),
        ({"assert": [{"type": "contains"}]}, "has no usable value"),
        ({"assert": [{"type": "is-json", "value": "{a: ["}]}, "has no usable value"),
        ({"assert": [{"value": "x"}]}, "has no type"),
        ({"threshold": 0.5}, "threshold is not supported"),
        ({"vars": {}}, "'what' is undefined"),
        ({"vars": {"what": "{{''.__class__.__mro__}}"}, "assert": []}, None),
    ],
)
def test_refusals(tmp_path: Path, test: dict[str, Any], message: str | None) -> None:
    path = _promptfoo(tmp_path, tests=[{"vars": {"what": "x"}, **test}])
    if message is None:
        assert "class" not in load_suite(path).cases[0].messages[0].content.replace("__class__", "")
        return
    with pytest.raises(SuiteError, match=message):
        load_suite(path)


@pytest.mark.parametrize(("name", "text"), [("t.jsonl", '{"vars": {}}\n{'), ("t.yaml", "- {a: b"), ("t.json", "[")])
def test_a_file_of_tests_that_cannot_be_parsed_is_one_clear_error(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(SuiteError, match=rf"promptfooconfig.yaml: file://{name} cannot be parsed: "):
        load_suite(_promptfoo(tmp_path, tests=f"file://{name}"))


def test_files_of_a_promptfoo_suite_stay_beside_it(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match="not supported"):
        load_suite(_promptfoo(tmp_path, prompts=["file://../secret.txt"], tests=[{}]))


def test_chat_messages_in_json_lines(tmp_path: Path) -> None:
    rows = [
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
                      {"role": "assistant", "content": "c"}]},
        {"id": "q", "question": "why", "answer": "so", "checks": [{"scorer": "exact", "value": "so"}]},
        {"id": "own", "prompt": "p", "expected_keywords": ["k"]},
    ]  # fmt: skip
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    first, second, third = load_suite(path).cases
    assert (first.messages, first.reference) == ((Message("user", "ab"),), "c")
    assert (second.messages[0].content, second.reference, len(second.checks)) == ("why", "so", 1)
    assert (third.reference, len(third.checks)) == (None, 1)


def test_a_suite_in_yaml(tmp_path: Path) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text("test_suite: y\ntest_cases:\n  - {id: a, prompt: x}\n")
    assert (load_suite(path).name, len(load_suite(path).cases)) == ("y", 1)


def test_check_names_every_mistake_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "cases.json"
    path.write_text("""{"test_cases": [
  {"id": "a", "prompt": "x"},
  {"id": "b",
   "prompt": "x",
   "weight": -1,
   "checks": [
     {"scorer": "exact", "value": "x"},
     {"scorer": "exakt", "value": "x"},
     {"scorer": "contains", "values": []}
   ]},
  {"id": "a", "prompt": "y"},
  {"id": "c"},
  {"id": "d", "prompt": "x", "expekted": 1}
]}""")
    found = [(mistake.line, mistake.warning, mistake.message) for mistake in find_mistakes(path)]
    assert [(line, warning) for line, warning, _ in found] == [
        (5, False), (8, False), (9, False), (11, False), (12, False), (13, True)
    ]  # fmt: skip
    wanted = ("weight is wrong", "scorer 'exakt'", "values", "used by two", "has no prompt", "expekted")
    assert [text for (_, _, message), text in zip(found, wanted, strict=True) if text not in message] == []


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("a.json", '{"test_cases": [\n  {"id": }\n]}', 2),
        ("a.yaml", "test_cases:\n  - {id: a\n  - b", 3),
        ("a.jsonl", '{"id": "a", "prompt": "x"}\n\n{"id": ', 3),
        ("b.jsonl", '{"id": "a", "prompt": "x"}\n\n{"id": "b"}', 3),
        (
            "b.yaml",
            "test_cases:\n  - id: a\n    prompt: x\n  - id: b\n    prompt: x\n    checks:\n      - scorer: no\n",
            7,
        ),
        ("p.yaml", "prompts: [x]\ntests:\n  - assert: []\n  - assert:\n    - type: javascript\n", 4),
    ],
)
def test_check_finds_the_line_in_every_format(tmp_path: Path, name: str, text: str, line: int) -> None:
    (tmp_path / name).write_text(text)
    assert [mistake.line for mistake in find_mistakes(tmp_path / name)] == [line]
