from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sidestep.evaluator.suite.scorers import judge
from tests.fakes.judge import KEY, FakeJudge, judge_endpoint


@pytest.fixture
def a_judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeJudge]:
    """The environment names the fake endpoint; verdicts are kept below the test's own folder."""
    judge._endpoint.cache_clear()
    with judge_endpoint() as fake:
        monkeypatch.setenv(judge.URL_VARIABLE, fake.url)
        monkeypatch.setenv(judge.MODEL_VARIABLE, "wise-1")
        monkeypatch.setenv(judge.KEY_VARIABLE, KEY)
        monkeypatch.setenv(judge.CACHE_VARIABLE, str(tmp_path / "verdicts"))
        yield fake
