"""The table of all fields in docs/configuration.md, generated from the dataclass so that it stays true.

python -m sidestep.trainer.config_docs > table.md
"""

from __future__ import annotations

import ast
import inspect
import sys
from dataclasses import MISSING, fields

from sidestep.trainer import config
from sidestep.trainer.config import REQUIRED, TrainingConfig


def field_table() -> str:
    """A Markdown table: field, type, default, meaning."""
    meanings = _meanings()
    rows = ["| field | type | default | meaning |", "|---|---|---|---|"]
    for field in fields(TrainingConfig):
        default = "required" if field.name in REQUIRED or field.default is MISSING else f"`{field.default!r}`"
        kind = str(field.type).replace("|", "\\|")
        rows.append(f"| `{field.name}` | {kind} | {default} | {meanings[field.name]} |")
    return "\n".join(rows) + "\n"


def _meanings() -> dict[str, str]:
    """The docstring that follows each field in the class."""
    tree = ast.parse(inspect.getsource(config.TrainingConfig)).body[0]
    assert isinstance(tree, ast.ClassDef)
    found: dict[str, str] = {}
    name = None
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            name = node.target.id
        elif name and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            found[name] = " ".join(str(node.value.value).split())
            name = None
    return found


if __name__ == "__main__":
    sys.stdout.write(field_table())
