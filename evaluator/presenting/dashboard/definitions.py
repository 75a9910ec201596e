"""All cases that the page shows, and which of their definitions are one: so that the page compares numbers only.

Two checkpoints answered the same case where its definition is the same. What "the same" means is decided here, by the
rule that the reports' comparisons follow, and not by the page.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sidestep.evaluator.cases.case import DEFAULT_CATEGORY
from sidestep.evaluator.comparing.comparison import interchangeable_definitions
from sidestep.evaluator.presenting.dashboard.segments import CaseList


@dataclass
class _Cases:
    """Cases in the order in which they were first asked; a case keeps the name and category that it had then."""

    ids: dict[str, int] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    categories: list[str] = field(default_factory=list)
    definitions: list[dict[str, int]] = field(default_factory=list)

    def number(self, case: str, name: str, category: str) -> int:
        if case not in self.ids:
            self.ids[case] = len(self.ids)
            self.names.append(name)
            self.categories.append(category or DEFAULT_CATEGORY)
            self.definitions.append({})
        return self.ids[case]


def case_data(case_lists: Mapping[str, CaseList]) -> dict[str, Any]:
    """The page's part about cases. Pure.

    ``cases`` holds columns with an entry for each case. ``case_lists`` says for each list, entry by entry, which case
    it is (its number in ``cases``) and by which definition: within a case, equal numbers are the same definition.
    ``interchangeable`` lists (case, definition, definition) where two that differ are compared nonetheless.
    """
    cases = _Cases()
    numbered = {name: _numbered(columns, cases) for name, columns in case_lists.items()}
    return {
        "cases": {"ids": list(cases.ids), "names": cases.names, "categories": cases.categories},
        "case_lists": numbered,
        "interchangeable": [
            [number, known[old], known[new]]
            for number, known in enumerate(cases.definitions)
            for old, new in interchangeable_definitions(known)
        ],
    }


def _numbered(columns: CaseList, cases: _Cases) -> dict[str, list[int]]:
    rows = zip(columns["ids"], columns["names"], columns["categories"], strict=True)
    numbers = [cases.number(case, name, category) for case, name, category in rows]
    known = [cases.definitions[number] for number in numbers]
    definitions = [
        definitions.setdefault(definition, len(definitions))
        for definitions, definition in zip(known, columns["definitions"], strict=True)
    ]
    return {"cases": numbers, "definitions": definitions}
