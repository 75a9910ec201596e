"""The Compose files against the Compose specification, and against what docs/containers.md promises.

Variables are filled in and the override is merged by podman-compose's own loader; what comes out is validated by
compose-spec. `make compose-check` then runs the files for real.
"""

from __future__ import annotations

import re
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import podman_compose
import pytest
import yaml
from compose_spec import PyOptions

REPOSITORY = Path(__file__).resolve().parents[2]
SERVICES = ("prepare", "trainer", "evaluator", "rerun")
ON_GPU = ("trainer", "evaluator", "rerun")
EVALUATORS = ("evaluator", "rerun")


@cache
def _loaded(name: str, environment: frozenset[tuple[str, str]]) -> dict[str, Any]:
    """One file, with its variables filled in."""
    document = yaml.safe_load((REPOSITORY / name).read_text())
    loaded: dict[str, Any] = podman_compose.rec_subs(document, dict(environment))
    return loaded


def _compose(*, cpu: bool = False, mps: bool = False, **environment: str) -> dict[str, Any]:
    """The configuration a user gets, on a GPU or with an override merged in."""
    overrides = [*(["docker-compose.cpu.yml"] if cpu else []), *(["docker-compose.mps.yml"] if mps else [])]
    names = ["docker-compose.yml", *overrides]
    files = [deepcopy(_loaded(name, frozenset(environment.items()))) for name in names]
    merged: dict[str, Any] = podman_compose.rec_merge({}, *files)
    return merged


def _validate(document: dict[str, Any]) -> None:
    PyOptions().from_yaml(yaml.safe_dump(document, sort_keys=False))


@pytest.mark.parametrize("override", [{}, {"cpu": True}, {"mps": True}])
def test_files_follow_the_compose_specification(override: dict[str, bool]) -> None:
    document = _compose(**override)  # type: ignore[arg-type]
    assert set(document["services"]) == set(SERVICES)
    _validate(document)


@pytest.mark.parametrize(
    ("key", "wrong", "complaint"),
    [
        ("stop_grace_period", "soon", "soon"),
        ("init", [True], "expected a boolean"),
        ("read_only", "perhaps", "expected a boolean"),
        ("cap_drop", "ALL", "expected a set"),
        ("depends_on", {"prepare": {"condition": "whenever"}}, "whenever"),
        ("healthchek", {"test": ["CMD", "true"]}, "healthchek"),
    ],
)
def test_validation_finds_mistakes(key: str, wrong: object, complaint: str) -> None:
    document = _compose()
    document["services"]["evaluator"] = document["services"]["evaluator"] | {key: wrong}
    with pytest.raises(ValueError, match=complaint):
        _validate(document)


@pytest.mark.parametrize("name", SERVICES)
@pytest.mark.parametrize("cpu", [False, True])
def test_services_are_confined(name: str, cpu: bool) -> None:
    service = _compose(cpu=cpu)["services"][name]
    assert service["init"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is True
    assert "privileged" not in service


@pytest.mark.parametrize("name", ON_GPU)
def test_nothing_that_reads_a_model_is_root_or_has_capabilities(name: str) -> None:
    service = _compose()["services"][name]
    assert service["user"] == "1000:1000"
    assert "cap_add" not in service


def test_prepare_may_only_give_folders_away() -> None:
    service = _compose()["services"]["prepare"]
    assert service["cap_add"] == ["CHOWN", "DAC_OVERRIDE"]
    assert service["network_mode"] == "none"


def test_users_are_chosen_by_variables() -> None:
    services = _compose(SIDESTEP_UID="1234", SIDESTEP_GID="99")["services"]
    assert services["trainer"]["user"] == services["evaluator"]["user"] == services["rerun"]["user"] == "1234:99"
    services = _compose(SIDESTEP_TRAINER_UID="0")["services"]
    assert services["trainer"]["user"] == services["prepare"]["environment"]["TRAINER"] == "0:1000"
    assert services["evaluator"]["user"] == services["prepare"]["environment"]["EVALUATOR"] == "1000:1000"


@pytest.mark.parametrize("name", EVALUATORS)
def test_weights_are_read_only_and_reports_writable_for_the_evaluator(name: str) -> None:
    services = _compose(EXPERT_DIR="/data/expert", BASE_MODEL_DIR="/data/model")["services"]
    assert services["trainer"]["volumes"] == ["/data/expert:/expert", "/data/model:/models/base:ro"]
    assert services[name]["volumes"] == [
        "/data/expert:/expert:ro",
        "/data/expert/weights/training_reports:/expert/weights/training_reports",
        "/data/model:/models/base:ro",
    ]


@pytest.mark.parametrize("name", EVALUATORS)
def test_the_evaluator_has_no_network_unless_asked(name: str) -> None:
    assert _compose()["services"][name]["network_mode"] == "none"
    assert _compose(EVALUATOR_NETWORK="bridge")["services"][name]["network_mode"] == "bridge"


@pytest.mark.parametrize("name", ON_GPU)
def test_all_share_one_gpu(name: str) -> None:
    service = _compose(SIDESTEP_GPU="3")["services"][name]
    assert service["deploy"]["resources"]["reservations"]["devices"] == [
        {"driver": "nvidia", "device_ids": ["3"], "capabilities": ["gpu"]}
    ]


@pytest.mark.parametrize("name", SERVICES)
def test_the_cpu_override_reserves_no_gpu_and_needs_no_cuda(name: str) -> None:
    service = _compose(cpu=True)["services"][name]
    assert not service.get("deploy")
    assert "cuda" not in service["build"]["args"]["BASE_IMAGE"]
    assert "cuda" in _compose()["services"][name]["build"]["args"]["BASE_IMAGE"]


@pytest.mark.parametrize("name", EVALUATORS)
def test_mps_puts_training_first_and_caps_the_evaluator(name: str) -> None:
    services = _compose(mps=True, MPS_EVALUATOR_PERCENTAGE="15")["services"]
    trainer, evaluator = services["trainer"]["environment"], services[name]["environment"]
    assert int(trainer["CUDA_MPS_CLIENT_PRIORITY"]) < int(evaluator["CUDA_MPS_CLIENT_PRIORITY"])  # lower goes first
    assert "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE" not in trainer
    assert evaluator["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"] == "15"
    assert evaluator["CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"] == "0=8G"
    for service in (services["trainer"], services[name]):
        assert service["ipc"] == "host"
        assert service["environment"]["CUDA_MPS_PIPE_DIRECTORY"] == "/run/nvidia-mps"
        assert "/tmp/nvidia-mps:/run/nvidia-mps" in service["volumes"]


@pytest.mark.parametrize("name", EVALUATORS)
def test_mps_takes_nothing_else_away(name: str) -> None:
    plain, shared = _compose()["services"][name], _compose(mps=True)["services"][name]
    assert set(plain["volumes"]) < set(shared["volumes"])
    assert {key: shared[key] for key in plain if key != "volumes"} == {
        key: plain[key] for key in plain if key != "volumes"
    }


def test_the_risk_of_mps_is_stated_where_it_is_chosen() -> None:
    assert "THE RISK" in (REPOSITORY / "docker-compose.mps.yml").read_text()
    assert "## CUDA MPS" in (REPOSITORY / "docs" / "containers.md").read_text()


def test_the_health_check_asks_the_evaluator() -> None:
    check = _compose()["services"]["evaluator"]["healthcheck"]
    assert check["test"] == ["CMD", "sidestep-evaluator", "health", "/expert", "--max-age", "60"]
    assert {"interval", "timeout", "start_period", "retries"} < set(check)


def test_everybody_has_time_to_stop() -> None:
    services = _compose()["services"]
    assert services["evaluator"]["stop_grace_period"] == services["rerun"]["stop_grace_period"] == "30s"
    assert services["trainer"]["stop_grace_period"] == "2m"


def test_only_the_profile_starts_a_rerun() -> None:
    services = _compose()["services"]
    assert services["rerun"]["profiles"] == ["rerun"]
    assert all("profiles" not in services[name] for name in SERVICES if name != "rerun")


def test_shared_folders_are_made_before_they_are_mounted() -> None:
    services = _compose()["services"]
    for name in ON_GPU:
        assert services[name]["depends_on"]["prepare"]["condition"] == "service_completed_successfully"


def test_the_image_holds_what_it_needs_and_no_more() -> None:
    patterns = (REPOSITORY / ".dockerignore").read_text().split()
    assert patterns[0] == "*"  # everything is left out that is not named
    named = {pattern.removeprefix("!") for pattern in patterns if pattern.startswith("!")}
    copied = {
        word
        for line in (REPOSITORY / "Dockerfile").read_text().splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for word in line.split()[1:-1]
    }
    assert copied == named


def test_the_document_lists_every_variable() -> None:
    files = ("docker-compose.yml", "docker-compose.cpu.yml", "docker-compose.mps.yml")
    used = {name for file in files for name in re.findall(r"\$\{(\w+)", (REPOSITORY / file).read_text())}
    table = (REPOSITORY / "docs" / "containers.md").read_text().split("## Settings")[1].split("\n\n**")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == used


def test_the_arguments_of_the_image_can_be_set() -> None:
    arguments = set(re.findall(r"^ARG (\w+)", (REPOSITORY / "Dockerfile").read_text(), re.MULTILINE))
    assert set(_compose()["services"]["trainer"]["build"]["args"]) == arguments
