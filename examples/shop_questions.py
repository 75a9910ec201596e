"""The language of the example expert: what can be asked about the shop, and the SQL that answers it.

A question is built from one ``Select`` (what is wanted) and one to two ``Filter``s (of what). Which filters go with
which select is the *combination*; test cases use combinations, and values, that no training row uses.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

Value = int | str


@dataclass(frozen=True)
class Filter:
    """A condition on one table. ``kind`` names the pool of values in shop_database; it is also the column."""

    name: str
    table: str
    kind: str
    phrase: str
    condition: str


@dataclass(frozen=True)
class Select:
    """What is wanted. ``phrasings`` and ``sql`` have one slot per table that can be filtered.

    ``patterns`` says on which tables the filters are: ("orders", "customers") is one filter on either.
    In ``sql``, ``{where}`` stands for all conditions and ``{having}`` for the one on the size of a group.
    ``without`` are kinds of values that make no sense here: customers of one city, counted per city.
    """

    name: str
    category: str
    patterns: tuple[tuple[str, ...], ...]
    phrasings: tuple[str, ...]
    sql: str
    without: tuple[str, ...] = ()


@dataclass(frozen=True)
class Combination:
    """A select with its filters: the unit that is held out."""

    select: Select
    filters: tuple[Filter, ...]

    @property
    def name(self) -> str:
        return "/".join([self.select.name, *(item.name for item in self.filters)])

    def question(self, phrasing: str, values: Sequence[Value]) -> str:
        """``phrasing`` with the filters filled in, for instance "from Oslo and in segment retail"."""
        phrases: dict[str, str] = {}
        for item, value in zip(self.filters, values, strict=True):
            phrase = item.phrase.format(value)
            phrases[item.table] = f"{phrases[item.table]} and {phrase}" if item.table in phrases else phrase
        filled = re.sub(r"\{(\w+)\}", lambda slot: phrases.get(slot[1], ""), phrasing)
        return re.sub(r" +(?=[ ?.,])", "", filled)

    def query(self, values: Sequence[Value]) -> str:
        where, having = [], ""
        for item, value in zip(self.filters, values, strict=True):
            condition = item.condition.format(f"'{value}'" if isinstance(value, str) else value)
            if item.table == "groups":
                having = condition
            else:
                where.append(condition)
        return self.select.sql.format(where=" AND ".join(where), having=having)


FILTERS = (
    Filter("city", "customers", "city", "from {}", "city = {}"),
    Filter("segment", "customers", "segment", "in segment {}", "segment = {}"),
    Filter("joined_after", "customers", "joined", "who joined after {}", "joined > {}"),
    Filter("joined_before", "customers", "joined", "who joined before {}", "joined < {}"),
    Filter("category", "products", "category", "in category {}", "category = {}"),
    Filter("price_over", "products", "price", "priced above {}", "price > {}"),
    Filter("price_under", "products", "price", "priced below {}", "price < {}"),
    Filter("stock_under", "products", "stock", "with fewer than {} in stock", "stock < {}"),
    Filter("stock_over", "products", "stock", "with more than {} in stock", "stock > {}"),
    Filter("status", "orders", "status", "with status {}", "status = {}"),
    Filter("year", "orders", "year", "from {}", "year = {}"),
    Filter("year_after", "orders", "year", "placed after {}", "year > {}"),
    Filter("total_over", "orders", "total", "worth more than {}", "total > {}"),
    Filter("total_under", "orders", "total", "worth less than {}", "total < {}"),
    Filter("stars", "reviews", "stars", "with {} stars", "stars = {}"),
    Filter("stars_over", "reviews", "stars", "with more than {} stars", "stars > {}"),
    Filter("votes_over", "reviews", "votes", "with more than {} votes", "votes > {}"),
    Filter("votes_under", "reviews", "votes", "with fewer than {} votes", "votes < {}"),
    Filter("more_than", "groups", "group_size", "{}", "COUNT(*) > {}"),
)


def _one_table(table: str) -> tuple[tuple[str, ...], ...]:
    return ((table,), (table, table))


def _easy(name: str, table: str, wanted: str, phrasings: tuple[str, ...], *, end: str = "") -> Select:
    sql = f"SELECT {wanted} FROM {table} WHERE {{where}}{end}"  # noqa: S608
    return Select(name, "easy", _one_table(table), phrasings, sql)


EASY = (
    _easy(
        "count_customers",
        "customers",
        "COUNT(*)",
        ("How many customers {customers} are there?", "Count the customers {customers}."),
    ),
    _easy(
        "list_customers",
        "customers",
        "name",
        ("List the names of customers {customers}.", "Show the names of all customers {customers}."),
    ),
    _easy("first_joined", "customers", "MIN(joined)", ("When did the first customer {customers} join?",)),
    _easy(
        "count_products",
        "products",
        "COUNT(*)",
        ("How many products {products} are there?", "Count the products {products}."),
    ),
    _easy(
        "list_products",
        "products",
        "title",
        ("List the titles of products {products}.", "Show the titles of all products {products}."),
    ),
    _easy("average_price", "products", "AVG(price)", ("What is the average price of products {products}?",)),
    _easy("highest_price", "products", "MAX(price)", ("What is the highest price of products {products}?",)),
    _easy("sum_stock", "products", "SUM(stock)", ("How many units of products {products} are in stock?",)),
    _easy(
        "cheapest", "products", "title", ("Which product {products} is the cheapest?",), end=" ORDER BY price LIMIT 1"
    ),
    _easy(
        "most_expensive",
        "products",
        "title",
        ("Which product {products} is the most expensive?",),
        end=" ORDER BY price DESC LIMIT 1",
    ),
    _easy("count_orders", "orders", "COUNT(*)", ("How many orders {orders} are there?", "Count the orders {orders}.")),
    _easy("sum_total", "orders", "SUM(total)", ("What is the total value of orders {orders}?",)),
    _easy("average_total", "orders", "AVG(total)", ("What is the average value of orders {orders}?",)),
    _easy("largest_total", "orders", "MAX(total)", ("What is the highest value of orders {orders}?",)),
    _easy(
        "count_reviews",
        "reviews",
        "COUNT(*)",
        ("How many reviews {reviews} are there?", "Count the reviews {reviews}."),
    ),
    _easy("average_stars", "reviews", "AVG(stars)", ("What is the average number of stars of reviews {reviews}?",)),
)


def _joined(first: str, second: str) -> tuple[tuple[str, ...], ...]:
    """Filters on the second table alone, or on both."""
    return ((second,), (first, second))


_ORDERS_CUSTOMERS = "FROM orders JOIN customers USING (customer_id) WHERE {where}"
_REVIEWS_PRODUCTS = "FROM reviews JOIN products USING (product_id) WHERE {where}"
_ITEMS_PRODUCTS = "FROM order_items JOIN products USING (product_id) WHERE {where}"


def _hard(
    name: str, patterns: tuple[tuple[str, ...], ...], question: str, sql: str, without: tuple[str, ...] = ()
) -> Select:
    return Select(name, "hard", patterns, (question,), sql, without)


def _per(name: str, table: str, column: str, question: str, wanted: str = "COUNT(*)") -> Select:
    sql = f"SELECT {column}, {wanted} FROM {table} WHERE {{where}} GROUP BY {column}"  # noqa: S608
    return _hard(name, _one_table(table), question, sql, (column,))


def _having(name: str, table: str, column: str, question: str) -> Select:
    sql = f"SELECT {column} FROM {table} WHERE {{where}} GROUP BY {column} HAVING {{having}}"  # noqa: S608
    return _hard(name, ((table, "groups"),), question, sql, (column,))


HARD = (
    _hard(
        "orders_of_customers",
        _joined("orders", "customers"),
        "How many orders {orders} were placed by customers {customers}?",
        f"SELECT COUNT(*) {_ORDERS_CUSTOMERS}",
    ),
    _hard(
        "value_of_customers",
        _joined("orders", "customers"),
        "What is the total value of orders {orders} by customers {customers}?",
        f"SELECT SUM(total) {_ORDERS_CUSTOMERS}",
    ),
    _hard(
        "customers_with_orders",
        _joined("customers", "orders"),
        "Which customers {customers} have orders {orders}?",
        f"SELECT DISTINCT name {_ORDERS_CUSTOMERS}",
    ),
    _hard(
        "reviews_of_products",
        _joined("reviews", "products"),
        "How many reviews {reviews} do products {products} have?",
        f"SELECT COUNT(*) {_REVIEWS_PRODUCTS}",
    ),
    _hard(
        "stars_of_products",
        _joined("reviews", "products"),
        "What is the average number of stars in reviews {reviews} of products {products}?",
        f"SELECT AVG(stars) {_REVIEWS_PRODUCTS}",
    ),
    _hard(
        "products_with_reviews",
        _joined("products", "reviews"),
        "Which products {products} have reviews {reviews}?",
        f"SELECT DISTINCT title {_REVIEWS_PRODUCTS}",
    ),
    _hard(
        "units_sold",
        _one_table("products"),
        "How many units of products {products} were sold?",
        f"SELECT SUM(quantity) {_ITEMS_PRODUCTS}",
    ),
    _hard(
        "best_seller",
        _one_table("products"),
        "Which product {products} sold the most units?",
        f"SELECT title {_ITEMS_PRODUCTS} GROUP BY product_id ORDER BY SUM(quantity) DESC LIMIT 1",
    ),
    _hard(
        "most_orders",
        _joined("orders", "customers"),
        "Which customer {customers} placed the most orders {orders}?",
        f"SELECT name {_ORDERS_CUSTOMERS} GROUP BY customer_id ORDER BY COUNT(*) DESC LIMIT 1",
    ),
    _hard(
        "spent_most",
        _joined("orders", "customers"),
        "Which customer {customers} spent the most on orders {orders}?",
        f"SELECT name {_ORDERS_CUSTOMERS} GROUP BY customer_id ORDER BY SUM(total) DESC LIMIT 1",
    ),
    _hard(
        "never_reviewed",
        _one_table("products"),
        "Which products {products} were never reviewed?",
        "SELECT title FROM products WHERE {where} AND product_id NOT IN (SELECT product_id FROM reviews)",
    ),
    _hard(
        "never_ordered",
        _one_table("customers"),
        "Which customers {customers} never placed an order?",
        "SELECT name FROM customers WHERE {where} AND customer_id NOT IN (SELECT customer_id FROM orders)",
    ),
    _hard(
        "above_average_price",
        _one_table("products"),
        "Which products {products} cost more than the average product?",
        "SELECT title FROM products WHERE {where} AND price > (SELECT AVG(price) FROM products)",
        ("price",),
    ),
    _hard(
        "above_average_total",
        _one_table("orders"),
        "How many orders {orders} are worth more than the average order?",
        "SELECT COUNT(*) FROM orders WHERE {where} AND total > (SELECT AVG(total) FROM orders)",
        ("total",),
    ),
    _per("customers_per_city", "customers", "city", "How many customers {customers} are there per city?"),
    _per("customers_per_segment", "customers", "segment", "How many customers {customers} are there per segment?"),
    _per("products_per_category", "products", "category", "How many products {products} are there per category?"),
    _per(
        "price_per_category",
        "products",
        "category",
        "What is the average price per category of products {products}?",
        "AVG(price)",
    ),
    _per("orders_per_status", "orders", "status", "How many orders {orders} are there per status?"),
    _per("value_per_year", "orders", "year", "What is the total value per year of orders {orders}?", "SUM(total)"),
    _having("large_cities", "customers", "city", "Which cities have more than {groups} customers {customers}?"),
    _having(
        "large_categories", "products", "category", "Which categories have more than {groups} products {products}?"
    ),
    _having("frequent_statuses", "orders", "status", "Which statuses have more than {groups} orders {orders}?"),
)


def combinations(select: Select) -> list[Combination]:
    """Every sensible choice of filters for ``select``; never two filters on one column."""
    found: list[Combination] = []
    for pattern in select.patterns:
        choices = [[item for item in FILTERS if item.table == table] for table in pattern]
        for filters in itertools.product(*choices):
            kinds = [item.kind for item in filters]
            distinct = len(set(kinds)) == len(kinds) and not set(kinds) & set(select.without)
            ordered = all(_before(a, b) for a, b in itertools.pairwise(filters) if a.table == b.table)
            if distinct and ordered:
                found.append(Combination(select, filters))
    return found


def _before(first: Filter, second: Filter) -> bool:
    """Two filters on one table are said in one order only, so that a combination has one name."""
    return FILTERS.index(first) < FILTERS.index(second)
