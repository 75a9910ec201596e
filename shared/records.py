"""Small JSON documents that the two processes leave for each other, as frozen dataclasses.

One definition serves both sides: the annotations say what is read, ``__post_init__`` what else must hold, and nothing
beyond the standard library and orjson is needed, so that a training can publish without the evaluator's packages.

    @dataclass(frozen=True)
    class Size:
        width: int
        unit: str = "mm"

    parse_record(Size, b'{"width": 3, "colour": "red"}')    # Size(width=3, unit='mm')
    parse_record(Size, b'{"width": "3"}')                   # InvalidRecord: width: is not an integer

Keys that nobody knows are passed over: an older version reads what a newer one has added to.
"""

from __future__ import annotations

import json
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import orjson

T = TypeVar("T")

_NAME = "json_name"
_FLAT = "flat"
FLAT: Mapping[str, Any] = types.MappingProxyType({_FLAT: True})
"""Metadata of a field whose own fields are in the document in its place."""

Reader = Callable[[Any], Any]  # from a parsed value to what a field holds; raises InvalidRecord


class InvalidRecord(ValueError):
    """The document is not such a record: ``reason``, and ``place``, the names that lead there."""

    def __init__(self, reason: str, place: tuple[str, ...] = ()) -> None:
        super().__init__(reason, place)
        self.reason = reason
        self.place = place

    def __str__(self) -> str:
        return f"{'.'.join(self.place) or 'document'}: {self.reason}"

    def inside(self, name: str) -> InvalidRecord:
        """The same, as seen from the value that holds the wrong one under ``name``."""
        return InvalidRecord(self.reason, (name, *self.place))


def json_name(name: str) -> Mapping[str, Any]:
    """Metadata of a field that has another name in the document."""
    return {_NAME: name}


def parse_record(kind: type[T], content: bytes) -> T:
    """A record from untrusted bytes. Raises InvalidRecord."""
    return read_record(kind, parse_json(content))


def parse_json(content: bytes) -> Any:
    """The value in ``content``; also NaN, which Python's own writer puts into files. Raises InvalidRecord."""
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as error:
        try:
            return json.loads(content)
        except (ValueError, RecursionError):
            raise InvalidRecord(f"is not JSON: {error}") from error


def read_record(kind: type[T], document: Any) -> T:
    """A record from a parsed document. Raises InvalidRecord."""
    record: T = _record_reader(kind)(document)
    return record


def record_document(record: Any) -> dict[str, Any]:
    """The document that a record is written as; ``read_record`` makes the same record of it."""
    document: dict[str, Any] = {}
    for field in fields(record):
        value = getattr(record, field.name)
        if _FLAT in field.metadata:
            document |= record_document(value)
        else:
            document[field.metadata.get(_NAME, field.name)] = _document_of(value)
    return document


def _document_of(value: Any) -> Any:
    if is_dataclass(value):
        return record_document(value)
    if isinstance(value, tuple):
        return [_document_of(item) for item in value]
    return value


def _reader(annotation: Any) -> Reader:
    """The reader of values that the annotation allows."""
    if get_origin(annotation) in (Union, types.UnionType):
        [kind] = [kind for kind in get_args(annotation) if kind is not type(None)]
        return _optional_reader(_reader(kind))
    if get_origin(annotation) is tuple:
        kinds = get_args(annotation)
        if kinds[-1] is Ellipsis:
            return _list_reader(_reader(kinds[0]))
        return _row_reader([_reader(kind) for kind in kinds])
    if is_dataclass(annotation):
        return _record_reader(annotation)
    if issubclass(annotation, Enum):
        return _enum_reader(annotation)
    return _PLAIN_READERS[annotation]


def _build_record_reader(kind: Any) -> Reader:
    hints = get_type_hints(kind)
    members = [
        (
            field.name,
            None if _FLAT in field.metadata else field.metadata.get(_NAME, field.name),
            _reader(hints[field.name]),
            field.default is MISSING and field.default_factory is MISSING,
        )
        for field in fields(kind)
    ]

    def read(document: Any) -> Any:
        if not isinstance(document, dict):
            raise InvalidRecord("is not an object")
        values = {}
        for attribute, name, read_member, required in members:
            if name is None:
                values[attribute] = read_member(document)
            elif name in document:
                try:
                    values[attribute] = read_member(document[name])
                except InvalidRecord as error:
                    raise error.inside(name) from None
            elif required:
                raise InvalidRecord("is missing", (name,))
        try:
            return kind(**values)
        except ValueError as error:  # from __post_init__, which names the field
            name, _, reason = str(error).partition(": ")
            raise InvalidRecord(reason, (name,)) from error

    return read


# Once for each class: an evaluator reads every marker again at each scan.
_record_reader: Callable[[Any], Reader] = cache(_build_record_reader)


def _optional_reader(read: Reader) -> Reader:
    return lambda value: None if value is None else read(value)


def _list_reader(read: Reader) -> Reader:
    return lambda value: tuple(_read_items(value, [read] * len(_list_in(value))))


def _row_reader(readers: list[Reader]) -> Reader:
    def read(value: Any) -> Any:
        if len(_list_in(value)) != len(readers):
            raise InvalidRecord(f"has {len(value)} items, not {len(readers)}")
        return tuple(_read_items(value, readers))

    return read


def _list_in(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise InvalidRecord("is not a list")
    return value


def _read_items(items: list[Any], readers: list[Reader]) -> list[Any]:
    found: list[Any] = []
    try:
        for item, read in zip(items, readers, strict=True):
            found.append(read(item))  # its length says which item is wrong
    except InvalidRecord as error:
        raise error.inside(str(len(found))) from None
    return found


def _enum_reader(kind: type[Enum]) -> Reader:
    def read(value: Any) -> Any:
        try:
            return kind(value)
        except ValueError:
            raise InvalidRecord(f"is not one of {', '.join(str(member.value) for member in kind)}") from None

    return read


def _read_text(value: Any) -> str:
    if isinstance(value, str) and (value.isascii() or _is_encodable(value)):
        return value
    raise InvalidRecord("is not a text")


def _is_encodable(text: str) -> bool:
    """Whether the text has no halves of surrogate pairs, which could not be written or hashed."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _read_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise InvalidRecord("is not true or false")


def _read_int(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise InvalidRecord("is not an integer")


def _read_float(value: Any) -> float:
    """A whole number counts as a float where one is expected."""
    if isinstance(value, (float, int)) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            pass
    raise InvalidRecord("is not a number")


_PLAIN_READERS: dict[Any, Reader] = {str: _read_text, bool: _read_bool, int: _read_int, float: _read_float}
