"""Records: read by their annotations, written as they are read, and refused with the place of what is wrong."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum

import pytest

from sidestep.shared.records import FLAT, InvalidRecord, json_name, parse_record, read_record, record_document


class Colour(StrEnum):
    RED = "red"
    GREEN = "green"


@dataclass(frozen=True)
class Point:
    x: float
    y: float = 0.0

    def __post_init__(self) -> None:
        if self.x < 0:
            raise ValueError("x: is negative")


@dataclass(frozen=True)
class Named:
    label: str = field(metadata=json_name("name"))


@dataclass(frozen=True)
class Shape:
    named: Named = field(metadata=FLAT)
    corners: tuple[Point, ...]
    span: tuple[float, float] = (0.0, 1.0)
    colour: Colour = Colour.RED
    count: int | None = None
    filled: bool = False


SHAPE = Shape(Named("kite"), (Point(1.0), Point(2.0, 3.0)), colour=Colour.GREEN, count=2)


def test_a_record_is_read_as_it_was_written() -> None:
    document = record_document(SHAPE)
    assert document == {
        "name": "kite", "corners": [{"x": 1.0, "y": 0.0}, {"x": 2.0, "y": 3.0}], "span": [0.0, 1.0],
        "colour": "green", "count": 2, "filled": False,
    }  # fmt: skip
    assert read_record(Shape, document) == SHAPE


def test_keys_of_later_versions_are_passed_over_and_defaults_taken() -> None:
    shape = parse_record(Shape, b'{"name": "dot", "corners": [], "weight": 3}')
    assert shape == Shape(Named("dot"), ())


def test_whole_numbers_are_floats_where_floats_are_expected_and_nan_is_one() -> None:
    point = parse_record(Point, b'{"x": 1, "y": NaN}')
    assert isinstance(point.x, float)
    assert math.isnan(point.y)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "document: is not JSON"),
        (b"[" * 100_000, "document: is not JSON"),
        (b"[]", "document: is not an object"),
        (b'{"corners": []}', "name: is missing"),
        (b'{"name": 3, "corners": []}', "name: is not a text"),
        (b'{"name": "\\ud800", "corners": []}', "name: is not a text|is not JSON"),
        (b'{"name": "a", "corners": {}}', "corners: is not a list"),
        (b'{"name": "a", "corners": [{"x": 1}, {"x": "1"}]}', r"corners\.1\.x: is not a number"),
        (b'{"name": "a", "corners": [{"x": true}]}', r"corners\.0\.x: is not a number"),
        (b'{"name": "a", "corners": [{"x": -1}]}', r"corners\.0\.x: is negative"),
        (b'{"name": "a", "corners": [{"x": 1' + b"0" * 400 + b"}]}", r"corners\.0\.x: is not a number"),
        (b'{"name": "a", "corners": [3]}', r"corners\.0: is not an object"),
        (b'{"name": "a", "corners": [], "span": [1]}', "span: has 1 items, not 2"),
        (b'{"name": "a", "corners": [], "colour": "blue"}', "colour: is not one of red, green"),
        (b'{"name": "a", "corners": [], "count": 2.0}', "count: is not an integer"),
        (b'{"name": "a", "corners": [], "count": true}', "count: is not an integer"),
        (b'{"name": "a", "corners": [], "filled": 1}', "filled: is not true or false"),
    ],
)
def test_anything_else_is_refused_with_its_place(content: bytes, reason: str) -> None:
    with pytest.raises(InvalidRecord, match=reason):
        parse_record(Shape, content)
