"""The published form of what is written: JSON Schema of report.json, outcome.json and advice.json.

``docs/schema/`` holds what this module says (`sidestep-evaluator schema NAME`); a test keeps them the same.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from sidestep.evaluator.comparing.advice import ADVICE_VERSION, Advice
from sidestep.evaluator.results.document import adapter_of
from sidestep.evaluator.results.report import IdentityMember, Report
from sidestep.shared.protocol import outcomes
from sidestep.shared.protocol.outcomes import SCHEMA_VERSION

DRAFT = "https://json-schema.org/draft/2020-12/schema"


@dataclass(frozen=True, kw_only=True)
class OutcomeRecord(outcomes.OutcomeRecord):
    __doc__ = outcomes.OutcomeRecord.__doc__

    identity: IdentityMember  # as pydantic can write it down


DOCUMENTS: dict[str, type] = {"report": Report, "outcome": OutcomeRecord, "advice": Advice}


class _Generator(GenerateJsonSchema):
    """Describes dataclasses by their docstrings, which older versions of pydantic leave out."""

    def dataclass_schema(self, schema: Any) -> dict[str, Any]:
        return {**super().dataclass_schema(schema), "description": inspect.cleandoc(schema["cls"].__doc__ or "")}


def schema_of(name: str) -> dict[str, Any]:
    """JSON Schema of one document as it is written. Further keys are allowed: later versions add some."""
    schema = adapter_of(DOCUMENTS[name]).json_schema(mode="serialization", schema_generator=_Generator)
    return {
        "$schema": DRAFT,
        "$id": f"urn:sidestep:{name}:{ADVICE_VERSION if name == 'advice' else SCHEMA_VERSION}",
        **schema,
    }
