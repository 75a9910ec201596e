from __future__ import annotations

from pathlib import Path

from sidestep.trainer.config.documentation import field_table
from sidestep.trainer.config.fields import FIELD_NAMES


def test_the_document_has_the_table_as_the_code_makes_it() -> None:
    document = (Path(__file__).resolve().parents[4] / "docs" / "configuration.md").read_text()
    assert document.endswith(field_table())
    assert all(f"| `{name}` |" in document for name in FIELD_NAMES)
