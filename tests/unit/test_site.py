"""The documentation site: every page is in its navigation, and links of the repository lead somewhere in it."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]


class _Loader(yaml.SafeLoader):
    """mkdocs.yml names a function with a tag of its own."""


_Loader.add_multi_constructor("tag:yaml.org,2002:python/name:", lambda loader, suffix, node: suffix)


@pytest.fixture(scope="module")
def site() -> ModuleType:
    spec = importlib.util.spec_from_file_location("site_hooks", REPOSITORY / "docs" / "hooks" / "site.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pages(navigation: Any) -> Iterator[str]:
    """Every page of a navigation, in its order."""
    if isinstance(navigation, str):
        yield navigation
    elif isinstance(navigation, dict):
        for part in navigation.values():
            yield from pages(part)
    else:
        for part in navigation:
            yield from pages(part)


def test_every_document_is_in_the_navigation_once(site: ModuleType) -> None:
    configuration = yaml.load((REPOSITORY / "mkdocs.yml").read_text(), _Loader)
    found = sorted(pages(configuration["nav"]))
    documents = {path.relative_to(REPOSITORY / "docs").as_posix() for path in (REPOSITORY / "docs").rglob("*.md")}
    assert found == sorted(documents | set(site.PAGES.values())), "add the page to nav: in mkdocs.yml"


def test_every_decision_has_a_line_in_the_navigation() -> None:
    decisions = {path.name for path in (REPOSITORY / "docs" / "decisions").glob("*.md")}
    text = (REPOSITORY / "mkdocs.yml").read_text()
    assert {name for name in decisions if f": decisions/{name}\n" not in text} == set()


@pytest.mark.parametrize(
    ("source", "page", "written", "expected"),
    [
        ("README.md", "index.md", "[a](docs/data.md#rows)", "[a](data.md#rows)"),
        ("README.md", "index.md", "![a](docs/images/dashboard-case.png)", "![a](images/dashboard-case.png)"),
        ("README.md", "index.md", "see [the example](examples/shop).", "see the example."),
        ("CONTRIBUTING.md", "project/contributing.md", "[a](docs/glossary.md)", "[a](../glossary.md)"),
        ("docs/decisions/engine.md", "decisions/engine.md", "[a](../benchmarks.md)", "[a](../benchmarks.md)"),
        ("docs/host.md", "host.md", "[a](../CHANGELOG.md)", "[a](project/changelog.md)"),
        (
            "docs/your-own-trainer.md",
            "your-own-trainer.md",
            "[a](../examples/training/trl_sft.py)",
            "[a](source/examples/training/trl_sft.py.txt)",
        ),
        ("docs/data.md", "data.md", "[a](https://example.org/x) [b](#rows)", "[a](https://example.org/x) [b](#rows)"),
        ("docs/data.md", "data.md", "```\n[a](nowhere.md)\n```\n", "```\n[a](nowhere.md)\n```\n"),
    ],
)
def test_links_lead_to_where_things_are_in_the_site(
    site: ModuleType, source: str, page: str, written: str, expected: str
) -> None:
    assert site.rewrite_links(written, source, page) == expected


def test_a_link_to_what_does_not_exist_fails_the_site(site: ModuleType) -> None:
    with pytest.raises(FileNotFoundError, match=r"docs/nowhere\.md"):
        site.rewrite_links("[a](nowhere.md)", "docs/data.md", "data.md")


def test_the_only_addresses_of_the_project_are_in_one_place() -> None:
    """There is no public address yet (pyproject.toml): whoever publishes changes one file."""
    named = [
        path.name
        for path in (REPOSITORY / "mkdocs.yml", REPOSITORY / "README.md", REPOSITORY / "SECURITY.md")
        if re.search(r"sidestep\.example", path.read_text())
    ]
    assert named == []
