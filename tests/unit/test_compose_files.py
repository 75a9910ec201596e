"""The Compose files against the Compose specification, and against what docs/containers.md promises."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose, PyOptions

REPOSITORY = Path(__file__).resolve().parents[2]


class _Loader(yaml.SafeLoader):
    """YAML with Compose's !reset, which removes what the file before said."""


class _Reset:
    pass


_Loader.add_constructor("!reset", lambda loader, node: _Reset())


def _text(name: str) -> str:
    """A Compose file with every ${VARIABLE:-default} at its default."""
    return re.sub(r"\$\{\w+:-((?:[^{}])*)\}", r"\1", (REPOSITORY / name).read_text())


def _services(name: str) -> dict[str, Any]:
    services: dict[str, Any] = yaml.load(_text(name), _Loader)["services"]
    return services


def _validate(text: str) -> PyCompose:
    options = PyOptions()
    options.apply_merge = True
    return PyCompose(options.from_yaml(text))


def test_files_follow_the_compose_specification() -> None:
    _validate(_text("docker-compose.yml"))
    _validate(_text("docker-compose.cpu.yml").replace("!reset null", "{}"))


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("stop_grace_period: 30s", "stop_grace_period: soon"),
        ("condition: service_completed_successfully", "condition: whenever"),
        ("init: true", "init: [1]"),
    ],
)
def test_the_validation_can_fail(right: str, wrong: str) -> None:
    text = _text("docker-compose.yml")
    assert right in text
    with pytest.raises(Exception, match=r".+"):
        _validate(text.replace(right, wrong))


@pytest.mark.parametrize("name", ["prepare", "trainer", "evaluator", "rerun"])
def test_services_are_confined(name: str) -> None:
    service = _services("docker-compose.yml")[name]
    assert service["init"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is True
    assert not service["user"].startswith("0")
    assert "privileged" not in service


@pytest.mark.parametrize("name", ["evaluator", "rerun"])
def test_weights_are_read_only_and_reports_writable_for_the_evaluator(name: str) -> None:
    services = _services("docker-compose.yml")
    mounts = services[name]["volumes"]
    shared = services["trainer"]["volumes"][0].split(":")[0]
    assert f"{shared}:/expert:ro" in mounts
    assert f"{shared}/weights/training_reports:/expert/weights/training_reports" in mounts


def test_gpu_is_reserved_by_default_and_not_on_cpu() -> None:
    for name in ("trainer", "evaluator", "rerun"):
        devices = _services("docker-compose.yml")[name]["deploy"]["resources"]["reservations"]["devices"]
        assert devices[0]["capabilities"] == ["gpu"]
        assert isinstance(_services("docker-compose.cpu.yml")[name]["deploy"], _Reset)


def test_evaluator_has_a_health_check_and_time_to_stop() -> None:
    service = _services("docker-compose.yml")["evaluator"]
    assert service["healthcheck"]["test"][:3] == ["CMD", "sidestep-evaluator", "health"]
    assert service["stop_grace_period"] == "30s"
    assert _services("docker-compose.yml")["rerun"]["profiles"] == ["rerun"]
