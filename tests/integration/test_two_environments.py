"""A training and the evaluator that it starts need not share versions: two environments, two releases of transformers.

The second release comes from the package index; where none can be reached, this test skips and says so.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.fakes.environments import Environment, build_wheel, copy_sources
from tests.fakes.somebodys_training import SomebodysTraining

# Two releases that suit the same tokenizers and huggingface_hub; the one that does not run these tests is taken.
RELEASES = ("5.24.0", "5.17.0")


@pytest.fixture(scope="module")
def other_release() -> str:
    return next(release for release in RELEASES if release != version("transformers"))


@pytest.fixture(scope="module")
def evaluators(tmp_path_factory: pytest.TempPathFactory, other_release: str) -> Environment:
    """An environment with another transformers and the installed wheel, beside borrowed packages."""
    environment = Environment.create(tmp_path_factory.mktemp("evaluators"))
    if (problem := environment.install_from_index(f"transformers=={other_release}")) is not None:
        pytest.skip(f"transformers {other_release} cannot be installed, so there are no two versions: {problem}")
    source = copy_sources(tmp_path_factory.mktemp("sources"))
    environment.install(str(build_wheel(source, tmp_path_factory.mktemp("wheel"))), cwd=source)
    return environment


def test_a_training_starts_an_evaluator_whose_transformers_is_another(
    evaluators: Environment, other_release: str, tmp_path: Path
) -> None:
    training = SomebodysTraining(tmp_path)
    output, log = training.run(
        arguments={"max_steps": 4},
        publisher={"suite": str(training.suite), "launch": True},
        launch={"python": str(evaluators.python), "arguments": ["--max-new-tokens", "2"]},
    )
    assert "the evaluator runs beside this training" in log
    assert training.expert.outcomes() == {"base": "evaluated", "checkpoint-2": "evaluated", "checkpoint-4": "evaluated"}
    trained_with = json.loads(output.splitlines()[-1])["transformers"]
    evaluated_with = training.expert.report("checkpoint-4")["environment"]["versions"]["transformers"]
    assert (trained_with, evaluated_with) == (version("transformers"), other_release)
    assert trained_with != evaluated_with
