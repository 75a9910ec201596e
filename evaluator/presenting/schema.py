"""The published form of what is written: JSON Schema of report.json, outcome.json and advice.json.

``docs/schema/`` holds what this module says (`sidestep-evaluator schema NAME`); a test keeps them the same.
"""

from __future__ import annotations

from typing import Any

from sidestep.evaluator.comparing.advice import ADVICE_VERSION, Advice
from sidestep.evaluator.results.document import Document
from sidestep.evaluator.results.report import SCHEMA_VERSION, OutcomeRecord, Report

DRAFT = "https://json-schema.org/draft/2020-12/schema"
DOCUMENTS: dict[str, type[Document]] = {"report": Report, "outcome": OutcomeRecord, "advice": Advice}


def schema_of(name: str) -> dict[str, Any]:
    """JSON Schema of one document as it is written. Further keys are allowed: later versions add some."""
    schema = DOCUMENTS[name].model_json_schema(mode="serialization")
    return {
        "$schema": DRAFT,
        "$id": f"urn:sidestep:{name}:{ADVICE_VERSION if name == 'advice' else SCHEMA_VERSION}",
        **schema,
    }
