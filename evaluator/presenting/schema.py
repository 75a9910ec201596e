"""The published form of what is written: JSON Schema of report.json, outcome.json and advice.json.

``docs/schema/`` holds what this module says (`sidestep-evaluator schema NAME`); a test keeps them the same.
"""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any, get_type_hints

from pydantic import create_model

from sidestep.evaluator.comparing.advice import ADVICE_VERSION, Advice
from sidestep.evaluator.results.document import Document
from sidestep.evaluator.results.report import IdentityEntry, Report
from sidestep.shared.protocol.outcomes import SCHEMA_VERSION, OutcomeRecord

DRAFT = "https://json-schema.org/draft/2020-12/schema"


def _outcome_document() -> type[Document]:
    """The record of outcome.json as a pydantic model, which is what can be written down as a schema."""
    hints = {**get_type_hints(OutcomeRecord), "identity": IdentityEntry}
    defaults = {field.name: ... if field.default is MISSING else field.default for field in fields(OutcomeRecord)}
    members: dict[str, Any] = {name: (hints[name], default) for name, default in defaults.items()}
    return create_model("OutcomeRecord", __base__=Document, __doc__=OutcomeRecord.__doc__, **members)


DOCUMENTS: dict[str, type[Document]] = {"report": Report, "outcome": _outcome_document(), "advice": Advice}


def schema_of(name: str) -> dict[str, Any]:
    """JSON Schema of one document as it is written. Further keys are allowed: later versions add some."""
    schema = DOCUMENTS[name].model_json_schema(mode="serialization")
    return {
        "$schema": DRAFT,
        "$id": f"urn:sidestep:{name}:{ADVICE_VERSION if name == 'advice' else SCHEMA_VERSION}",
        **schema,
    }
