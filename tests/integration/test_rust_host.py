"""The Rust host's two calls, made by a Rust program: a subprocess with a file, and Python embedded through PyO3.

Needs cargo and Debian's packages librust-pyo3-dev, librust-serde-json-dev and python3-dev (``.ci/run`` installs
them); nothing is fetched. The program embeds the system's Python, whose packages come from our virtual environment.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sidestep.shared.protocol.layout import ModelFolder
from sidestep.shared.protocol.outbox import held_entries
from tests.fakes.tiny_model import build_tiny_model

REPOSITORY = Path(__file__).resolve().parents[2]
PROGRAM = REPOSITORY / "tests" / "rust_host"
CRATES = Path("/usr/share/cargo/registry")
SYSTEM_PYTHON = Path(f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}")
ELASTIC = REPOSITORY.parent / "shared" / "experts" / "elastic"
FULL_RUN_VARIABLE = "SIDESTEP_RUST_HOST_FULL"
WAYS = ("subprocess", "embedded")
TIMEOUT_SECONDS = 300  # a training of the whole manifest gets ten times as much


def _what_is_missing() -> str | None:
    cargo = shutil.which("cargo")
    if cargo is None:
        return "cargo is not installed"
    if not list(CRATES.glob("pyo3-0.17*")) or not list(CRATES.glob("serde_json-*")):
        return "Debian's librust-pyo3-dev (0.17) and librust-serde-json-dev are not installed"
    headers = Path(f"/usr/include/python{sys.version_info.major}.{sys.version_info.minor}/Python.h")
    if not SYSTEM_PYTHON.exists() or not headers.exists():
        return f"the system has no {SYSTEM_PYTHON.name} with its headers (python3-dev) to embed"
    return None


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Rust program, built offline. Its Cargo.lock belongs to the Debian release that the crates are of."""
    if missing := _what_is_missing():
        pytest.skip(f"the Rust host is not tested: {missing}")
    source = tmp_path_factory.mktemp("rust_host") / "source"
    shutil.copytree(PROGRAM, source, ignore=shutil.ignore_patterns("target", "Cargo.lock"))
    cache = Path(os.environ.get("SIDESTEP_CACHE") or REPOSITORY / ".cache") / "rust_host"
    target = cache if os.access(cache.parent, os.W_OK) else source.parent / "target"
    built = subprocess.run(
        ["cargo", "build", "--offline", "--target-dir", str(target)], cwd=source, capture_output=True, text=True,
        env={**os.environ, "PYO3_PYTHON": str(SYSTEM_PYTHON)}, timeout=TIMEOUT_SECONDS, check=False,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    return target / "debug" / "rust_host"


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_model(tmp_path_factory.mktemp("models") / "Tiny_1.0")


@pytest.fixture
def expert(tmp_path: Path, tiny_model: Path) -> Path:
    """An expert whose manifest names its base model on somebody else's disk."""
    root = tmp_path / "expert"
    (root / "datasets").mkdir(parents=True)
    rows = [{"instruction": f"q {n}", "output": f"a {n}"} for n in range(16)]
    (root / "datasets" / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    manifest = {
        "name": "shop", "version": "2.0", "schema_version": "2.0",
        "base_models": [{"name": "F:/models/Tiny_1.0", "quantization": "none", "prompt_template": "chatml"}],
        "training": {
            "dataset": {"path": "datasets/train.jsonl", "format": "jsonl"},
            "config": {
                "adapter_type": "lora", "rank": 4, "alpha": 8, "target_modules": ["q_proj", "v_proj"], "epochs": 0.5,
                "learning_rate": 1e-3, "batch_size": 2, "gradient_accumulation_steps": 1, "lr_scheduler": "cosine",
                "save_steps": 2, "save_total_limit": None, "_comment": "x", "gradient_checkpointing": "selective",
                "lr_scheduler_kwargs": {},
            },
        },
    }  # fmt: skip
    (root / "manifest.json").write_text(json.dumps(manifest))
    return root


def _without_active_venv(path: str) -> str:
    """An embedded Python takes its standard library from the first python3 in PATH; a venv's is another build."""
    return os.pathsep.join(folder for folder in path.split(os.pathsep) if Path(folder) != Path(sys.prefix) / "bin")


def _call(program: Path, way: str, folder: Path, request: dict[str, Any]) -> dict[str, Any]:
    """What the Rust program says about one call."""
    path = folder / "request.json"
    base = {"cli_folder": str(REPOSITORY), "venv": sys.prefix, "device": "cpu"}
    path.write_text(json.dumps({**base, **request}))
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    if way == "embedded":
        environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if Path(path).name == "site-packages")
        environment["PATH"] = _without_active_venv(environment["PATH"])
    done = subprocess.run(
        [str(program), way, str(path)], cwd=folder, env=environment, capture_output=True, text=True,
        timeout=10 * TIMEOUT_SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    answer["log"] = done.stderr
    return answer


@pytest.mark.parametrize("way", WAYS)
def test_a_training_leaves_its_folders_and_publishes(program: Path, expert: Path, tiny_model: Path, way: str) -> None:
    answer = _call(program, way, expert.parent, {"expert": str(expert), "base_model_name": str(tiny_model)})
    assert answer["success"], f"{answer['error']}\n{answer['log']}"
    assert answer["status"] == (0 if way == "subprocess" else None)
    assert {"tiny-10/checkpoint-2", "tiny-10/checkpoint-4", "tiny-10/final", "tiny-10/adapter"} <= set(
        answer["folders"]
    )
    model = ModelFolder(expert / "weights" / "tiny-10")
    assert (model.root / "final" / "adapter_model.safetensors").is_file()
    markers = [entry.marker for entry in held_entries(model)]
    assert [(marker.step, marker.run.expert_name, marker.run.expert_version) for marker in markers] == [
        (2, "shop", "2.0"), (4, "shop", "2.0")
    ]  # fmt: skip
    assert "recomputing" in answer["log"]  # "selective" arrived, as a value or as JSON text


@pytest.mark.parametrize("way", WAYS)
def test_a_failure_says_what_and_what_to_do(program: Path, expert: Path, tiny_model: Path, way: str) -> None:
    request = {
        "expert": str(expert), "base_model_name": str(tiny_model), "training": {"target_modules": ["nowhere"]}
    }  # fmt: skip
    answer = _call(program, way, expert.parent, request)
    assert not answer["success"]
    assert answer["status"] == (1 if way == "subprocess" else None)
    assert "target_modules names modules that the model does not have: nowhere" in answer["error"]
    assert "Traceback" not in answer["error"]
    assert not [name for name in answer["folders"] if "checkpoint" in name or "final" in name]


@pytest.mark.parametrize("way", WAYS)
def test_the_base_model_on_somebody_elses_disk_is_one_clear_error(program: Path, expert: Path, way: str) -> None:
    answer = _call(program, way, expert.parent, {"expert": str(expert)})
    assert not answer["success"]
    assert "F:/models/Tiny_1.0" in answer["error"]
    assert "Traceback" not in answer["error"]


@pytest.mark.parametrize(("text", "reason"), [("", "no such file"), ('{"training": ', "is not valid JSON")])
def test_a_bad_file_is_status_1_and_one_line(program: Path, expert: Path, text: str, reason: str) -> None:
    answer = _call(program, "subprocess", expert.parent, {"expert": str(expert), "config_text": text})
    assert answer["status"] == 1
    assert reason in answer["error"]
    assert "Traceback" not in answer["error"]


@pytest.mark.expert
@pytest.mark.parametrize("way", WAYS)
def test_the_real_manifest_as_it_is_says_what_to_change(program: Path, tmp_path: Path, way: str) -> None:
    """It names a base model on its author's disk."""
    if not ELASTIC.is_dir():
        pytest.skip(f"the real expert is not at {ELASTIC}")
    request = {"expert": str(ELASTIC), "output_dir": str(tmp_path / "weights")}
    answer = _call(program, way, tmp_path, request)
    assert not answer["success"]
    assert "models/Qwen3-0.6B" in answer["error"]
    assert "SIDESTEP_BASE_MODEL" in answer["error"]
    assert "Traceback" not in answer["error"]


@pytest.mark.expert
@pytest.mark.model
@pytest.mark.parametrize("way", WAYS)
def test_the_real_manifest_trains(program: Path, tmp_path: Path, way: str) -> None:
    """Only when asked for, DoRA on SmolLM2. With 1: a few short steps without validation, not quantized. With
    ``manifest``: one step of the manifest's 90 rows of 1,024 tokens, all else as the manifest says."""
    if not (asked := os.environ.get(FULL_RUN_VARIABLE)):
        pytest.skip(f"takes minutes; set {FULL_RUN_VARIABLE}=1 (or =manifest) to run it")
    if not ELASTIC.is_dir():
        pytest.skip(f"the real expert is not at {ELASTIC}")
    cache = Path(os.environ.get("SIDESTEP_CACHE") or REPOSITORY / ".cache")
    request = {
        "expert": str(ELASTIC), "output_dir": str(tmp_path / "weights"),
        "base_model_name": str((cache / "smollm2-135m-instruct").resolve()), "training": {"epochs": 0.0001},
    }  # fmt: skip
    if asked != "manifest":
        request["quantization"] = "none"
        request["training"] = {
            "epochs": 0.00015, "batch_size": 1, "gradient_accumulation_steps": 1, "max_seq_length": 128,
            "save_steps": 2, "logging_steps": 1, "evaluation_strategy": "no", "load_best_model_at_end": False,
        }  # fmt: skip
    answer = _call(program, way, tmp_path, request)
    sys.stderr.write(answer["log"])
    assert answer["success"], f"{answer['error']}\n{answer['log']}"
    folders = [name for name in answer["folders"] if name.startswith("smollm2-135m-instruct/")]
    assert {"smollm2-135m-instruct/final", "smollm2-135m-instruct/adapter"} <= set(folders)
    [marker, *_] = [entry.marker for entry in held_entries(ModelFolder(tmp_path / "weights" / "smollm2-135m-instruct"))]
    assert marker.run.adapter_type == "dora"
