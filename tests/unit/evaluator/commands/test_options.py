"""Where options come from: command line, environment, sidestep.toml and the manifest, and what is said of mistakes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sidestep.evaluator.commands.app import COMMANDS, WITH_SUBCOMMANDS, program
from sidestep.shared.commands.sources import EVALUATOR, TABLES, TRAINER, UP


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An expert's folder below the current folder, and no variable of ours."""
    folder = tmp_path / "experts" / "shop"
    folder.mkdir(parents=True)
    write_manifest(folder)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SIDESTEP_BASE_MODEL", raising=False)
    return folder


def write_manifest(folder: Path, **more: Any) -> None:
    document = {"name": "shop", "version": "1.0.0", "base_models": [{"name": "somebody/model"}], **more}
    (folder / "manifest.json").write_text(json.dumps(document))


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        program.run(arguments)
    captured = capsys.readouterr()
    return int(ended.value.code or 0), captured.out, captured.err


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, tuple[Any, str]]:
    """What ``config show`` says of each option: its value, and where it comes from."""
    code, output, errors = run(capsys, "config", "show", *arguments, "--json")
    assert (code, errors) == (0, "")
    return {
        row["option"]: (row["value"], f"{row['from']} {row['where']}".strip()) for row in json.loads(output)["options"]
    }


def test_the_command_line_is_stronger_than_the_environment_and_that_than_the_file(
    shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shown(capsys, str(shop))["--max-slowdown"] == (0.02, "default")
    (shop / "sidestep.toml").write_text("max_slowdown = 0.1\n")
    assert shown(capsys, str(shop))["--max-slowdown"] == (0.1, "file experts/shop/sidestep.toml: max_slowdown")
    monkeypatch.setenv("SIDESTEP_MAX_SLOWDOWN", "0.2")
    assert shown(capsys, str(shop))["--max-slowdown"] == (0.2, "environment variable SIDESTEP_MAX_SLOWDOWN")
    assert shown(capsys, str(shop), "--max-slowdown", "0.3")["--max-slowdown"] == (0.3, "command line")


def test_files_from_weak_to_strong(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("sidestep.toml").write_text('device = "cuda:1"\n')
    assert shown(capsys, str(shop))["--device"] == ("cuda:1", "file sidestep.toml: device")
    write_manifest(shop, sidestep={"device": "cuda:2"})
    named = "file experts/shop/manifest.json (sidestep): device"
    assert shown(capsys, str(shop))["--device"] == ("cuda:2", named)
    (shop / "sidestep.toml").write_text('device = "cuda:3"\n')
    assert shown(capsys, str(shop))["--device"] == ("cuda:3", "file experts/shop/sidestep.toml: device")
    assert shown(capsys, str(shop / "weights"))["--device"][0] == "cuda:3"
    assert shown(capsys, "elsewhere")["--device"] == ("cuda:1", "file sidestep.toml: device")


@pytest.mark.parametrize(
    ("text", "command", "value"),
    [
        ('device = "a"', "watch", "a"),
        ('device = "a"\n[evaluator]\ndevice = "b"', "watch", "b"),
        ('device = "a"\n[watch]\ndevice = "c"\n[evaluator]\ndevice = "b"', "watch", "c"),
        ('device = "a"\n[watch]\ndevice = "c"\n[evaluator]\ndevice = "b"', "rerun", "b"),
        ('device = "a"\n[trainer]\ndevice = "d"', "watch", "a"),
    ],
)
def test_the_nearer_table_is_the_stronger_one(
    shop: Path, capsys: pytest.CaptureFixture[str], text: str, command: str, value: str
) -> None:
    (shop / "sidestep.toml").write_text(text)
    assert shown(capsys, str(shop), "--command", command)["--device"][0] == value


@pytest.mark.parametrize(
    ("variable", "text", "option", "value"),
    [
        ("SIDESTEP_BASE_MODEL", "models/x", "--base-model", "models/x"),
        ("SIDESTEP_WATCH_ONCE", "1", "--once", True),
        ("SIDESTEP_WATCH_DEVICE", "cpu", "--device", "cpu"),
        ("SIDESTEP_EVALUATOR_DEVICE", "cpu", "--device", "cpu"),
        ("SIDESTEP_OUTPUT_DIR", "out", "--weights-dir", "out"),
        ("SIDESTEP_FORBID_REGRESSION", "a,b", "--forbid-regression", ["a", "b"]),
        ("SIDESTEP_FORBID_REGRESSION", '["a,b"]', "--forbid-regression", ["a,b"]),
        ("SIDESTEP_MIN_CATEGORY_RATE", "sql=0.5", "--min-category-rate", ["sql=0.5"]),
    ],
)
def test_variables(
    shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    variable: str, text: str, option: str, value: object,
) -> None:  # fmt: skip
    monkeypatch.setenv(variable, text)
    assert shown(capsys, str(shop))[option] == (value, f"environment variable {variable}")


@pytest.mark.parametrize(
    ("text", "option", "value"),
    [
        ("[watch]\nonce = true", "--once", True),
        ('forbid_regression = ["a", "b"]', "--forbid-regression", ["a", "b"]),
        ("[min_category_rate]\nsql = 0.5", "--min-category-rate", ["sql=0.5"]),
        ('order = "oldest"', "--order", "oldest"),
        ('suite = "tests/other.json"', "--suite", "SHOP/tests/other.json"),
        ('base_model = "model"', "--base-model", "SHOP/model"),
        ('base_model = "somebody/other"', "--base-model", "somebody/other"),
    ],
)
def test_values_in_a_file(
    shop: Path, capsys: pytest.CaptureFixture[str], text: str, option: str, value: object
) -> None:
    """Paths start at the file; what is not a folder there is the name of a model."""
    (shop / "model").mkdir()
    (shop / "sidestep.toml").write_text(text)
    found, source = shown(capsys, str(shop))[option]
    assert found == (value.replace("SHOP", str(shop)) if isinstance(value, str) else value)
    assert source.startswith("file experts/shop/sidestep.toml: ")


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("max_slowdwon = 1", "max_slowdwon: there is no such option or table", "did you mean max_slowdown?"),
        ("[wacth]\nonce = true", "wacth: there is no such option or table", "did you mean watch?"),
        ("[watch]\nonec = true", "[watch] onec: there is no such option", "did you mean once?"),
        ("[trainer]\nsave_step = 1", "[trainer] save_step: there is no such option", "did you mean save_steps?"),
        ("[suite.import]\nlimits = 1", "[suite.import] limits: there is no such option", "did you mean limit?"),
        ("once = true", "once: an option of watch alone", "put it under [watch]"),
        ("watch = 3", "watch = 3 is wrong", "it is a table: [watch]"),
        ('max_slowdown = "much"', 'max_slowdown = "much" is wrong', "it takes a number"),
        ("device = 1", "device = 1 is wrong", "it takes text in quotes"),
        ("log_json = 1", "log_json = 1 is wrong", "it takes true or false"),
        ("max_slowdown = -1", 'max_slowdown: invalid value "-1.0". Must be >= 0.', None),
        (
            'dtype = "flaot32"',
            'dtype: invalid value "flaot32". Choose from: "auto", "float32", "bfloat16", "float16", "int8", "int4". '
            'Did you mean "float32"?',
            None,
        ),
        ("forbid_regression = [1]", "forbid_regression = 1 is wrong", "it takes text in quotes"),
        ('engine = "somebody:code"', "engine: there is no such option or table", None),
    ],
)
def test_a_mistake_in_a_file_is_one_error_with_file_and_key(
    shop: Path, capsys: pytest.CaptureFixture[str], text: str, message: str, hint: str | None
) -> None:
    (shop / "sidestep.toml").write_text(text)
    code, output, errors = run(capsys, "config", "show", str(shop))
    assert (code, output) == (1, "")
    first, *rest = errors.splitlines()
    assert first == f"sidestep-evaluator: error: experts/shop/sidestep.toml: {message}"
    assert rest == [f"sidestep-evaluator: hint: {hint}"] if hint else "Traceback" not in errors


def test_a_file_that_is_not_toml(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (shop / "sidestep.toml").write_text("device = cpu\n")
    code, _, errors = run(capsys, "status", str(shop))
    assert code == 1
    assert "sidestep.toml is not valid TOML: Invalid value (at line 1, column 10)" in errors


def test_a_wrong_value_in_the_environment_names_the_variable(
    shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SIDESTEP_MAX_SLOWDOWN", "much")
    code, _, errors = run(capsys, "watch", str(shop))
    expected = 'SIDESTEP_MAX_SLOWDOWN: invalid value: unable to convert "much" into float.'
    assert (code, errors) == (1, f"sidestep-evaluator: error: {expected}\n")


@pytest.mark.parametrize(
    "line",
    ['webhook = "http://localhost"', "allow_hub = true", 'reports_dir = "/"', 'junit = "x"', 'set = "output_dir=x"'],
)
def test_an_experts_folder_says_nothing_of_addresses_permissions_and_places_to_write_to(
    shop: Path, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    """It can come from somebody else; the user's own file may."""
    key, _, value = line.partition(" = ")
    (shop / "sidestep.toml").write_text(line)
    code, _, errors = run(capsys, "config", "show", str(shop))
    assert code == 1
    assert f"experts/shop/sidestep.toml: {key}: not for an expert's folder to say" in errors
    (shop / "sidestep.toml").unlink()
    write_manifest(shop, sidestep={key: True if value == "true" else value.strip('"')})
    assert run(capsys, "config", "show", str(shop))[0] == 1
    write_manifest(shop)
    Path("sidestep.toml").write_text(line)
    options = shown(capsys, str(shop))
    assert key == "set" or options["--" + key.replace("_", "-")][1] == f"file sidestep.toml: {key}"


@pytest.mark.parametrize("folder", [".", "weights"])
def test_in_an_experts_folder_its_files_are_the_experts(
    shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: str
) -> None:
    (shop / "weights").mkdir()
    monkeypatch.chdir(shop / folder)
    Path("sidestep.toml").write_text('webhook = "http://localhost"')
    assert "sidestep.toml: webhook: not for an expert's folder" in run(capsys, "status", ".")[2]


def test_what_the_manifest_says_is_shown_as_its_own(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluation = {"suite": "t.json", "keep_reports": 3, "gates": {"max_drop": 0.1}, "decoding": {"max_new_tokens": 9}}
    write_manifest(shop, evaluation=evaluation)
    options = shown(capsys, str(shop), "--keep-reports", "4")
    where = f"manifest {shop / 'manifest.json'}"
    assert options["--base-model"] == ("somebody/model", where)
    assert options["--suite"] == ("t.json", where)
    assert options["--max-drop"] == (0.1, where)
    assert options["--max-new-tokens"] == (9, where)
    assert options["--keep-reports"] == (4, "command line")
    assert options["--weights-dir"] == (str(shop / "weights"), "default")


def test_variables_that_nothing_reads_are_named(
    shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SIDESTEP_MAX_SLOWDWON", "0.1")
    monkeypatch.setenv("SIDESTEP_CACHE", str(shop))  # make's
    assert "not options of watch: SIDESTEP_MAX_SLOWDWON" in run(capsys, "config", "show", str(shop))[1]


def test_hidden_options_are_the_command_lines_alone(
    shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SIDESTEP_ENGINE", "somebody:code")
    assert "not options of watch: SIDESTEP_ENGINE" in run(capsys, "config", "show", str(shop))[1]
    assert program.sources.settings["engine"].value is None


def test_config_show_takes_what_the_command_takes(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = shown(capsys, str(shop), "--command", "rerun", "--checkpoints", "1,2")
    assert options["--checkpoints"] == ("1,2", "command line")
    assert options["--order"] == ("oldest", "default")
    code, _, errors = run(capsys, "config", "show", str(shop), "--ordr", "x")
    assert (code, errors.splitlines()[0]) == (
        2,
        "sidestep-evaluator: error: Unknown option: --ordr. Did you mean --order?",
    )


def test_actions_of_one_command_are_not_told_to_all(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """At the top of the file, webhook means the evaluator's; export would send everything at once."""
    Path("sidestep.toml").write_text('webhook = "http://localhost"')
    options = shown(capsys, str(shop), "--command", "export")
    assert options["--webhook"] == (None, "default")


def test_every_command_has_a_table() -> None:
    assert {*COMMANDS, *WITH_SUBCOMMANDS, EVALUATOR, TRAINER, UP} == TABLES
