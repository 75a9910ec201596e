"""Suites made from data sets and from tasks of lm-evaluation-harness."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sidestep.evaluator.commands.suite import app
from sidestep.evaluator.suite.loading import load_suite
from sidestep.evaluator.suite.scorers import SCORERS, Context
from sidestep.evaluator.suite.scorers.harness import cut
from sidestep.evaluator.suite.scoring import run_check
from sidestep.shared.errors import SuiteError

TASK = """
task: capital
dataset_path: json
dataset_kwargs: {data_files: {test: DATA}}
output_type: KIND
test_split: test
fewshot_split: test
num_fewshot: 1
fewshot_config: {sampler: first_n}
doc_to_text: "Capital of {{country}}?"
doc_to_target: "{{capital}}"
CHOICES
generation_kwargs: {until: ["\\n"], max_gen_toks: 7}
filter_list:
  - name: word
    filter:
      - {function: regex, regex_pattern: "is (\\\\w+)"}
      - {function: take_first}
metric_list:
  - {metric: METRIC, aggregation: mean, higher_is_better: true}
"""


def _run(*arguments: str) -> None:
    app(arguments, exit_on_error=False, print_error=False, result_action="return_value")


def _import(*arguments: str) -> None:
    _run("import", *arguments)


def test_a_data_set_with_columns_and_checks(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("q,a,group\nsix times seven,42,x\none and one,2,y\nthree,3,y\n")
    check = json.dumps({"scorer": "number", "value": "{{a}}", "tolerance": 0.5})
    _import(
        str(tmp_path / "rows.csv"), "-o", str(tmp_path / "s.json"), "--column", "prompt=q",
        "--column", "category=group", "--check", check,
        "--check", '{"scorer": "contains", "values": ["{{ a }}!"]}', "--limit", "2",
    )  # fmt: skip
    suite = load_suite(tmp_path / "s.json")
    assert [(case.id, case.category) for case in suite.cases] == [("row-1", "x"), ("row-2", "y")]
    assert suite.cases[0].checks[0].parameters == {"value": 42, "tolerance": 0.5}
    assert suite.cases[0].checks[1].parameters == {"values": ["42!"]}
    assert suite.warnings == ()
    assert json.loads((tmp_path / "s.json").read_text())["_provenance"]["rows"] == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--column", "prompt"], "is not a pair"),
        (["--column", "prompt=nothing"], "has no column nothing"),
        (["--check", "{"], "is not valid JSON"),
        (["--column", "prompt=q", "--check", '{"scorer": "exact", "value": "{{b}} x"}'], "'b' is undefined"),
    ],
)
def test_mistakes_of_an_import(tmp_path: Path, arguments: list[str], message: str) -> None:
    (tmp_path / "rows.csv").write_text("q,a\nx,y\n")
    with pytest.raises(Exception, match=message):
        _import(str(tmp_path / "rows.csv"), "-o", str(tmp_path / "s.json"), *arguments)
    assert not (tmp_path / "s.json").exists()


def test_the_hub_is_asked_only_when_allowed(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="not a data file on this machine"):
        _import("openai/gsm8k::test::main", "-o", str(tmp_path / "s.json"))


def test_a_suite_is_not_replaced_unasked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = str(tmp_path / "s.json")
    _run("init", target)
    _run("check", target)
    capsys.readouterr()
    _run("show", target)
    assert "greeting" in capsys.readouterr().out
    with pytest.raises(SuiteError, match="exists"):
        _run("init", target)
    _run("init", target, "--force")


def test_answers_are_cut_as_the_harness_does() -> None:
    assert cut("a\nb;c", ("\n", ";")) == "a"
    assert cut("abc", ("",)) == "abc"


def test_without_the_harness_its_checks_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    parameters = SCORERS["lm_eval"].parameters.model_validate({"task": "t", "doc": {}})
    assert "not installed" in str(SCORERS["lm_eval"].problem(parameters, tmp_path))


def _task(folder: Path, kind: str = "generate_until", metric: str = "exact_match") -> Path:
    tasks = folder / "tasks"
    tasks.mkdir()
    rows = [{"country": "France", "capital": "Paris"}, {"country": "Italy", "capital": "Rome"}]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    choices = 'doc_to_choice: ["Paris", "Rome"]' if kind == "multiple_choice" else ""
    text = TASK.replace("DATA", str(folder / "rows.jsonl")).replace("KIND", kind).replace("METRIC", metric)
    text = text.replace("CHOICES", choices)
    (tasks / "capital.yaml").write_text(text)
    return tasks


def test_a_task_of_the_harness(tmp_path: Path) -> None:
    pytest.importorskip("lm_eval", reason="lm-evaluation-harness is not installed (the extra lm-eval)")
    target = tmp_path / "suite" / "cases.json"
    _import("lm-eval:capital", "--include-path", str(_task(tmp_path)), "-o", str(target))
    suite = load_suite(target)
    case = suite.cases[1]
    assert (case.id, case.max_new_tokens, suite.warnings) == ("capital-1", 7, ())
    assert [message.role for message in case.messages] == [
        "user",
        "assistant",
        "user",
    ]  # an example, the question
    assert case.messages[-1].content == "Capital of Italy?"
    context = Context(target.parent)
    answers = ("It is Rome\nIt is Paris", "It is Paris", "Rome")
    results = [run_check(case.checks[0], answer, context) for answer in answers]
    assert [result.passed for result in results] == [True, False, False], results
    copied = target.parent / "lm_eval_tasks" / "capital" / "capital.yaml"
    copied.write_text(copied.read_text() + "\n# changed\n")
    assert load_suite(target).sha256 != suite.sha256


def test_tasks_that_compare_likelihoods_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("lm_eval", reason="lm-evaluation-harness is not installed (the extra lm-eval)")
    with pytest.raises(Exception, match="compares likelihoods"):
        _import(
            "lm-eval:capital", "--include-path", str(_task(tmp_path, "multiple_choice", "acc")),
            "-o", str(tmp_path / "s.json"),
        )  # fmt: skip
