"""The documentation site as a reader opens it: diagrams are drawn, and nothing is fetched from elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.browser.page import LOCAL_SCHEMES, Page

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=300,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


def open_page(page: Page, path: Path) -> None:
    page.driver.get("about:blank")
    page.driver.get_log("performance")
    page.driver.get(path.as_uri())
    page.wait(lambda: page.all("h1"))


def test_diagrams_are_drawn_and_nothing_is_fetched(page: Page, site: Path) -> None:
    if not (site / "assets" / "javascripts" / "mermaid.min.js").is_file():
        pytest.skip(
            "npm, or a network, was missing when the site was built: diagrams are drawn by what a browser fetches"
        )
    open_page(page, site / "architecture.html")
    page.wait(lambda: not page.all("pre.mermaid"))
    drawn = page.run("[...document.querySelectorAll('div.mermaid')].map((diagram) => diagram.offsetHeight)")
    assert len(drawn) == 2
    assert min(drawn) > 100
    assert [address for address in page.requests() if not address.startswith(LOCAL_SCHEMES)] == []


def test_the_home_page_is_the_readme_and_its_pictures_are_there(page: Page, site: Path) -> None:
    open_page(page, site / "index.html")
    assert page.texts("h1")[0].startswith("Sidestep")
    page.wait(lambda: page.run("[...document.images].every((image) => image.complete && image.naturalWidth > 0)"))
    assert page.run("document.images.length") >= 1
    assert [address for address in page.requests() if not address.startswith(LOCAL_SCHEMES)] == []
