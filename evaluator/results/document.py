"""What every document of the reports folder has in common: values that do not change, and keys of later versions."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Document(BaseModel):
    """Part of a JSON document. Unknown keys are passed over: an older Sidestep reads what a newer one has added to."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        protected_namespaces=(),
        use_attribute_docstrings=True,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
    )
