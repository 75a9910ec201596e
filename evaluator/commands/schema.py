"""``sidestep-evaluator schema``: the JSON Schemas of what the evaluator writes."""

from __future__ import annotations

import sys
from typing import Annotated

from cyclopts import Parameter

from sidestep.shared.errors import ConfigError

# Names of the documents (presenting.schema.DOCUMENTS, which is loaded only when it is asked; a test compares the two).
DOCUMENT_NAMES = ("report", "outcome", "advice")


def schema(
    name: Annotated[str, Parameter(name="NAME", help=f"{', '.join(DOCUMENT_NAMES)}.")] = "report",
    /,
) -> None:
    """Print the JSON Schema of a document that the evaluator writes."""
    from sidestep.evaluator.presenting.schema import DOCUMENTS, schema_of
    from sidestep.shared.files import to_json

    if name not in DOCUMENTS:
        raise ConfigError(f"there is no schema of {name!r}", hint=f"known are {', '.join(DOCUMENTS)}")
    sys.stdout.write(to_json(schema_of(name)).decode())
