from __future__ import annotations

from pathlib import Path

from sidestep.trainer.config import FIELD_NAMES
from sidestep.trainer.config_docs import field_table


def test_the_document_has_the_table_as_the_code_makes_it() -> None:
    document = (Path(__file__).resolve().parents[3] / "docs" / "configuration.md").read_text()
    assert document.endswith(field_table())
    assert all(f"| `{name}` |" in document for name in FIELD_NAMES)
