"""The real expert's 10,023 rows, where they are at hand."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from sidestep.trainer.config.data_options import row_shape
from sidestep.trainer.config.reading import read_config
from sidestep.trainer.data.rows import to_example
from sidestep.trainer.data.sources import open_source

EXPERT = Path(__file__).resolve().parents[4].parent / "shared" / "experts" / "elastic"


@pytest.mark.expert
@pytest.mark.skipif(not EXPERT.is_dir(), reason="the real expert is not part of this project")
def test_every_row_of_the_real_expert_is_usable() -> None:
    config = read_config(EXPERT)
    examples = [to_example(row, row_shape(config)) for _, row in open_source(config.dataset_path).rows(streaming=False)]
    assert len(examples) == 10_023
    roles = Counter(tuple(message["role"] for message in example.messages) for example in examples)
    assert roles == {("system", "user", "assistant"): 10_023}
    assert not any("<|" in message["content"] for example in examples for message in example.messages)
