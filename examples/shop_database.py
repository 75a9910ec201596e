"""The small shop that the example expert is asked about: its tables, its rows, and the values that occur in them.

Everything is drawn from ``random.Random(seed).random()``, the one method whose sequence Python promises to keep from
version to version, so that the same bytes come out everywhere. Column names are unique across tables except for the
keys, which lets every join be written ``JOIN orders USING (customer_id)``: short, and easy to learn.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Sequence
from typing import TypeVar

SEED = 20260
Item = TypeVar("Item")
Row = tuple[int | str, ...]

# One line for the system prompt: every token of it is paid for in every training row.
COMPACT_SCHEMA = (
    "customers(customer_id name city segment joined) products(product_id title category price stock) "
    "orders(order_id customer_id status year total) order_items(order_id product_id quantity) "
    "reviews(review_id product_id customer_id stars votes)"
)

SCHEMA = """\
CREATE TABLE customers (customer_id INTEGER PRIMARY KEY, name TEXT, city TEXT, segment TEXT, joined INTEGER);
CREATE TABLE products (product_id INTEGER PRIMARY KEY, title TEXT, category TEXT, price INTEGER, stock INTEGER);
CREATE TABLE orders (order_id INTEGER PRIMARY KEY, customer_id INTEGER REFERENCES customers, status TEXT,
  year INTEGER, total INTEGER);
CREATE TABLE order_items (order_id INTEGER REFERENCES orders, product_id INTEGER REFERENCES products,
  quantity INTEGER, PRIMARY KEY (order_id, product_id));
CREATE TABLE reviews (review_id INTEGER PRIMARY KEY, product_id INTEGER REFERENCES products,
  customer_id INTEGER REFERENCES customers, stars INTEGER, votes INTEGER);
"""

# By kind of value: what training rows use, and what only test cases use. The database holds both.
TRAIN_VALUES: dict[str, tuple[int | str, ...]] = {
    "city": ("Berlin", "Oslo", "Madrid", "Vienna", "Dublin"),
    "segment": ("retail", "business"),
    "joined": (2017, 2018, 2020, 2021),
    "category": ("books", "garden", "kitchen", "music"),
    "price": (15, 20, 30, 45, 50, 65, 80),
    "stock": (5, 8, 12, 20, 30),
    "status": ("paid", "shipped", "returned"),
    "year": (2020, 2022, 2023),
    "total": (50, 80, 100, 150, 180, 240),
    "stars": (1, 3, 5),
    "votes": (2, 4, 5, 8, 9),
    "group_size": (2, 4, 5, 8),
}
TEST_VALUES: dict[str, tuple[int | str, ...]] = {
    "city": ("Lisbon", "Prague"),
    "segment": ("school",),
    "joined": (2019, 2022),
    "category": ("toys", "sport"),
    "price": (25, 35, 40, 60, 70),
    "stock": (6, 10, 15, 25),
    "status": ("open", "cancelled"),
    "year": (2021, 2024),
    "total": (60, 70, 90, 110, 120, 130, 140, 160, 200, 220),
    "stars": (2, 4),
    "votes": (3, 6, 7),
    "group_size": (3, 6, 7),
}

FIRST_NAMES = ("Ada", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gia", "Hugo", "Ida", "Jon", "Kim", "Leo", "Mia", "Nils")
LAST_NAMES = ("Abel", "Braun", "Costa", "Diaz", "Evans", "Frank", "Gray")
ADJECTIVES = ("Blue", "Tiny", "Classic", "Grand", "Smart", "Wild", "Quiet", "Bright")
NOUNS = {
    "books": "Novel",
    "garden": "Spade",
    "kitchen": "Pan",
    "music": "Drum",
    "toys": "Robot",
    "sport": "Ball",
}


def pick(rng: random.Random, items: Sequence[Item]) -> Item:
    return items[int(rng.random() * len(items))]


def between(rng: random.Random, low: int, high: int) -> int:
    """A whole number from ``low`` to ``high``, both included."""
    return low + int(rng.random() * (high - low + 1))


def all_values(kind: str) -> tuple[int | str, ...]:
    return TRAIN_VALUES[kind] + TEST_VALUES[kind]


def rows() -> dict[str, list[Row]]:
    """Every table's rows. A fifth of the customers never order, and some products are never ordered or reviewed."""
    rng = random.Random(SEED)
    customers = _customers(rng)
    products = _products(rng)
    orders, items = _orders(rng, customers, products)
    reviews = _reviews(rng, customers, products)
    return {"customers": customers, "products": products, "orders": orders, "order_items": items, "reviews": reviews}


def _customers(rng: random.Random) -> list[Row]:
    names = [f"{first} {last}" for last in LAST_NAMES for first in FIRST_NAMES]
    return [
        (number, name, pick(rng, all_values("city")), pick(rng, all_values("segment")), between(rng, 2016, 2024))
        for number, name in enumerate(names[:84], start=1)
    ]


def _products(rng: random.Random) -> list[Row]:
    titles = [(f"{adjective} {noun}", category) for category, noun in NOUNS.items() for adjective in ADJECTIVES]
    return [
        (number, title, category, 5 * between(rng, 1, 19), between(rng, 0, 32))
        for number, (title, category) in enumerate(titles, start=1)
    ]


def _orders(rng: random.Random, customers: list[Row], products: list[Row]) -> tuple[list[Row], list[Row]]:
    buyers = [row for row in customers if rng.random() < 0.8]
    ordered = [row for row in products if rng.random() < 0.9]
    orders: list[Row] = []
    items: list[Row] = []
    for number in range(1, 221):
        chosen = sorted({pick(rng, ordered) for _ in range(between(rng, 1, 3))})
        lines = [(product, between(rng, 1, 4)) for product in chosen]
        items += [(number, product[0], quantity) for product, quantity in lines]
        total = sum(int(product[3]) * quantity for product, quantity in lines)
        customer = pick(rng, buyers)[0]
        orders.append((number, customer, pick(rng, all_values("status")), between(rng, 2019, 2024), total))
    return orders, items


def _reviews(rng: random.Random, customers: list[Row], products: list[Row]) -> list[Row]:
    reviewed = [row for row in products if rng.random() < 0.8]
    return [
        (number, pick(rng, reviewed)[0], pick(rng, customers)[0], between(rng, 1, 5), between(rng, 0, 10))
        for number in range(1, 151)
    ]


def as_sql() -> str:
    """The fixture: a script that SQLite runs as it is."""
    parts = ["-- Written by examples/make_shop_expert.py; edit that instead.\n", SCHEMA]
    for table, content in rows().items():
        lines = ",\n".join("(" + ", ".join(map(_literal, row)) + ")" for row in content)
        parts.append(f"INSERT INTO {table} VALUES\n{lines};\n")
    return "".join(parts)


def _literal(value: int | str) -> str:
    return str(value) if isinstance(value, int) else "'" + value.replace("'", "''") + "'"


def open_database() -> sqlite3.Connection:
    """The shop in memory."""
    connection = sqlite3.connect(":memory:")
    connection.executescript(as_sql())
    return connection
