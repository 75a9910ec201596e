"""What every document of the reports folder has in common: frozen dataclasses that are strict when they are built.

A field that a document does not have is a TypeError when one is built, so nothing can vanish on the way to the disk.
Reading is lenient: unknown keys are passed over, because an older Sidestep reads what a newer one has added to.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from functools import cache
from typing import Any, ClassVar, Self

from pydantic import ConfigDict, TypeAdapter

from sidestep.shared.files import to_json

# What reads and writes values of a kind; made at first use, because that takes a moment.
adapter_of: Callable[[Any], TypeAdapter[Any]] = cache(TypeAdapter)


class Document:
    """Base of a JSON document, or of a part of one. Subclasses are frozen dataclasses with keywords only."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(use_attribute_docstrings=True)

    @classmethod
    def from_dict(cls, content: Any) -> Self:
        """A document from parsed JSON. Raises pydantic's ValidationError."""
        document: Self = adapter_of(cls).validate_python(content)
        return document

    def to_dict(self, *, leave_out: Set[str] = frozenset()) -> dict[str, Any]:
        """The document as JSON has it, without the keys in ``leave_out``."""
        content: dict[str, Any] = adapter_of(type(self)).dump_python(
            self, mode="json", by_alias=True, exclude=set(leave_out)
        )
        return content

    def to_bytes(self) -> bytes:
        """The document as its file holds it."""
        return to_json(self.to_dict())
