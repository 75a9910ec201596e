"""What is installed works without this checkout: wheel, source distribution, editable installation, bare checkout.

``sidestep/`` holds links to the three folders; a wheel must hold real files in their place, and nothing beside them.
"""

from __future__ import annotations

import json
import shutil
import stat
import zipfile
from pathlib import Path

import pytest

from tests.fakes.environments import (
    REPOSITORY,
    Environment,
    build_sdist,
    build_wheel,
    copy_sources,
    run_checked,
    source_files,
)
from tests.fakes.tiny_model import build_tiny_model

FOLDERS = ("trainer", "evaluator", "shared")
WHERE = """
import json, sys
import expert_trainer, sidestep, sidestep.evaluator.settings, sidestep.shared.files, sidestep.trainer.host
modules = (expert_trainer, sidestep, sidestep.evaluator.settings, sidestep.shared.files, sidestep.trainer.host)
print(json.dumps({"files": [module.__file__ for module in modules], "path": sys.path}))
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_sources(tmp_path_factory.mktemp("clone"))


@pytest.fixture(scope="module")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(checkout, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    environment = Environment.create(tmp_path_factory.mktemp("installed"))
    environment.install(str(wheel), cwd=wheel.parent)
    return environment


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_model(tmp_path_factory.mktemp("models") / "tiny", max_positions=4096)


def contents(wheel: Path) -> dict[str, bytes]:
    """Every file of a wheel but what describes the wheel itself."""
    with zipfile.ZipFile(wheel) as archive:
        files = [entry for entry in archive.infolist() if not entry.is_dir()]
        assert not [entry.filename for entry in files if stat.S_ISLNK(entry.external_attr >> 16)]
        return {entry.filename: archive.read(entry) for entry in files if ".dist-info/" not in entry.filename}


def where(environment: Environment, cwd: Path, **variables: str) -> list[Path]:
    """The files that our modules are loaded from; none of them, and no entry of sys.path, is this checkout's."""
    found = json.loads(environment.run_code(WHERE, cwd, **variables).splitlines()[-1])
    assert not [path for path in found["path"] if (cwd / path).resolve() == REPOSITORY]
    return [Path(path) for path in found["files"]]


def test_a_wheel_holds_the_package_and_the_hosts_entry_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        top = {name.split("/")[0] for name in archive.namelist()}
    assert top == {"sidestep", "expert_trainer.py", f"{'-'.join(wheel.name.split('-')[:2])}.dist-info"}


def test_a_wheel_holds_every_file_of_the_package_with_its_content(wheel: Path) -> None:
    wanted = {
        str(Path("sidestep") / path) if path.parts[0] in FOLDERS else str(path): (REPOSITORY / path).read_bytes()
        for path in source_files()
        if path.parts[0] in (*FOLDERS, "sidestep", "expert_trainer.py") and not (REPOSITORY / path).is_symlink()
    }
    assert {"sidestep/py.typed", "expert_trainer.py"} <= wanted.keys()
    assert [name for name in wanted if name.startswith("sidestep/evaluator/presenting/dashboard/vendor/")]
    found = contents(wheel)
    assert sorted(found) == sorted(wanted)
    assert [name for name in wanted if found[name] != wanted[name]] == []


def test_a_source_distribution_makes_the_same_wheel(checkout: Path, wheel: Path, tmp_path: Path) -> None:
    archive = build_sdist(checkout, tmp_path)
    assert contents(build_wheel(archive, tmp_path)) == contents(wheel)


def test_it_trains_and_evaluates_from_an_environment_outside_the_checkout(
    installed: Environment, tiny_model: Path, tmp_path: Path
) -> None:
    assert all(path.is_relative_to(installed.site_packages) for path in where(installed, tmp_path))
    expert = tmp_path / "shop"
    shutil.copytree(REPOSITORY / "examples" / "shop", expert)
    few = ("--max-steps", "2", "--save-steps", "1", "--set", "max_seq_length=2048")  # a token for each byte
    run_checked(
        [
            *(installed.command("sidestep"), "up", str(expert), "--base-model", str(tiny_model), "--device", "cpu"),
            *("--max-new-tokens", "2", *few),
        ],
        tmp_path,
    )
    reports = expert / "weights" / "training_reports"
    outcomes = {path.parent.name: json.loads(path.read_text())["outcome"] for path in reports.glob("*/outcome.json")}
    assert outcomes == {"base": "evaluated", "checkpoint-1": "evaluated", "checkpoint-2": "evaluated"}
    assert "uPlot" in (reports / "index.html").read_text()  # the dashboard's assets came along


def test_an_editable_installation_follows_the_checkout(checkout: Path, tmp_path: Path) -> None:
    environment = Environment.create(tmp_path / "editable")
    environment.install("--editable", str(checkout), cwd=tmp_path)
    files = where(environment, tmp_path)
    assert all(path.is_relative_to(checkout) for path in files)
    assert "sidestep-trainer" in run_checked([environment.command("sidestep-trainer"), "--help"], tmp_path)


def test_a_checkout_works_without_any_installation(checkout: Path, tmp_path: Path) -> None:
    """The Rust host's two calls (tests/integration/test_host.py trains by them): only the checkout is on sys.path."""
    environment = Environment.create(tmp_path / "bare")
    assert all(path.is_relative_to(checkout) for path in where(environment, tmp_path, PYTHONPATH=str(checkout)))
    help_text = run_checked([str(environment.python), str(checkout / "expert_trainer.py"), "--help"], tmp_path)
    assert "EXPERT_DIR|CONFIG" in help_text
