from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sidestep.evaluator.suite.scorers import llm_judge, llm_settings
from tests.fakes.judge import KEY, FakeJudge, judge_endpoint


@pytest.fixture
def a_judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeJudge]:
    """The environment names the fake endpoint; grades are kept below the test's own folder."""
    llm_judge._endpoint.cache_clear()
    with judge_endpoint() as fake:
        monkeypatch.setenv(llm_settings.URL_VARIABLE, fake.url)
        monkeypatch.setenv(llm_settings.MODEL_VARIABLE, "wise-1")
        monkeypatch.setenv(llm_settings.KEY_VARIABLE, KEY)
        monkeypatch.setenv(llm_judge.CACHE_VARIABLE, str(tmp_path / "grades"))
        yield fake
