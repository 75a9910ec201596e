"""What a reader does with the dashboard, done by a browser: from disk, without network."""

from __future__ import annotations

from pathlib import Path

import pytest
from selenium.webdriver.common.keys import Keys

from tests.browser.page import LOCAL_SCHEMES, Page


@pytest.fixture
def url(shop: Path) -> str:
    return shop.as_uri()


@pytest.fixture(autouse=True)
def _quiet(page: Page) -> object:
    """Whatever a test does, nothing is fetched and nothing complains."""
    yield
    assert [url for url in page.requests() if not url.startswith(LOCAL_SCHEMES)] == []
    assert page.complaints() == []


def test_the_overview_answers_the_three_questions(page: Page, url: str) -> None:
    page.open(url)
    cards = page.texts(".card")
    assert "Is it getting better?" in cards[0]
    assert "66.7 %" in cards[0]
    assert "1 case newly broken" in cards[1]
    assert "easy-3" in cards[1]
    assert "checkpoint-30" in cards[2]
    page.wait(lambda: len(page.all(".chart canvas")) == 2)
    rows = page.texts(".checkpoints tbody tr")
    assert [row.split()[0] for row in rows] == ["checkpoint-30", "checkpoint-20", "checkpoint-10", "base"]
    assert "best" in rows[0]
    cost = page.one(".facts").text
    assert "1.2 % slower steps while the last checkpoint was evaluated (95 %: 0.4 % to 2.0 %)" in cost
    assert "0.1 % faster steps over the run so far" in cost


def test_a_case_is_two_clicks_away_and_its_words_are_compared(page: Page, url: str) -> None:
    page.open(url)
    page.click(".card .case-links a")
    page.wait(lambda: len(page.all(".answer")) == 2)
    assert page.texts(".answer h3") == ["checkpoint-20 0.2.0", "checkpoint-30 0.2.0"]
    assert page.texts(".answer del") == ["right", "20"]
    assert page.texts(".answer ins") == ["wrong", "30"]
    assert page.texts(".answer .pill") == ["passed · 10.0", "failed · 2.5"]
    page.wait(lambda: "question easy-3" in page.one(".asked").text)
    page.choose("before", "base model")
    page.wait(lambda: page.texts(".answer h3")[:1] == ["base model"])
    page.driver.back()
    page.wait(lambda: page.texts(".answer h3")[:1] == ["checkpoint-20 0.2.0"])


def test_a_click_in_the_heat_map_opens_the_case(page: Page, url: str) -> None:
    page.open(url, "#/cases")
    page.wait(lambda: page.run("document.querySelector('.heat-canvas').width > 300"))
    assert "8 of 8 cases by 4 checkpoints" in page.one(".count").text
    page.run(
        "(() => { const box = document.querySelector('.heat').getBoundingClientRect();"
        " const click = new MouseEvent('click', {bubbles: true, clientX: box.left + box.width - 60,"
        " clientY: box.top + 30 + 24 + 10});"
        " document.querySelector('.heat-canvas').dispatchEvent(click); })()"
    )
    # that far right there is no column: the last checkpoint is meant
    page.wait(lambda: page.texts(".case-head h2") == ["easy-1"])


def test_the_heat_map_by_keyboard(page: Page, url: str) -> None:
    page.open(url, "#/cases")
    page.run("document.querySelector('.heat').focus()")
    for key in (Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.ARROW_LEFT):
        page.press(key)
    assert page.run("document.getElementById('live').textContent") == "easy-3, step 20, passed"
    assert "easy-3" in page.one(".tip").text
    page.press(Keys.ENTER)
    page.wait(lambda: page.texts(".answer h3") == ["checkpoint-10 0.2.0", "checkpoint-20 0.2.0"])


def test_the_heat_map_is_as_it_was_left(page: Page, url: str) -> None:
    page.size(1280, 260)  # so low that it scrolls
    page.open(url, "#/cases")
    page.wait(lambda: page.run("document.querySelector('.heat-canvas').width > 300"))
    page.run("document.querySelector('.heat').scrollTo(0, 40)")
    page.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    page.press("3")
    page.wait(lambda: page.all(".changes"))
    page.press("2")
    page.wait(lambda: page.run("document.querySelector('.heat')?.scrollTop") == 40)


def test_the_picture_shows_what_the_reports_say(page: Page, url: str) -> None:
    page.open(url, "#/cases")
    page.wait(lambda: page.run("document.querySelector('.heat-canvas').width > 300"))
    colors = page.run(
        "(() => { const canvas = document.querySelector('.heat-canvas'); const width = canvas.clientWidth;"
        " const style = getComputedStyle(document.documentElement);"
        " const data = canvas.getContext('2d').getImageData(0, 30 + 24 + 4, width, 1).data;"
        " const seen = new Set(); for (let i = 0; i < data.length; i += 4)"
        " seen.add('#' + [0, 1, 2].map((c) => data[i + c].toString(16).padStart(2, '0')).join(''));"
        " return [seen.has(style.getPropertyValue('--pass')), seen.size > 3]; })()"
    )
    assert colors[0]


def test_filters_by_category_status_and_text(page: Page, url: str) -> None:
    page.open(url, "#/cases")

    def count() -> str:
        return page.one(".count").text.split(" by ")[0]

    page.choose("Category", "hard")
    page.wait(lambda: count() == "3 of 8 cases")
    page.choose("Status", "failed")
    page.wait(lambda: count() == "1 of 8 cases")
    page.choose("Category", "all categories")
    page.choose("Status", "newly fixed")
    page.wait(lambda: count() == "2 of 8 cases")
    page.choose("Status", "unscored or may fail")
    page.wait(lambda: count() == "2 of 8 cases")
    page.choose("Status", "any status")
    page.one("#search").send_keys("EASY-2")
    page.wait(lambda: count() == "1 of 8 cases")
    assert page.run("document.activeElement.id") == "search"
    page.driver.refresh()  # the address holds what was chosen
    page.wait(lambda: count() == "1 of 8 cases")


def test_search_in_answers(page: Page, url: str) -> None:
    page.open(url, "#/changes")
    page.one("#search").send_keys("wrong from")
    page.wait(lambda: page.texts(".changes .badge") == ["0", "0", "0", "0"])
    page.click(".filters .check input")
    page.wait(lambda: page.texts(".changes .badge")[:2] == ["1", "2"])


def test_changes_between_any_two_checkpoints(page: Page, url: str) -> None:
    page.open(url, "#/changes")
    assert page.texts(".changes .badge") == ["1", "2", "0", "0"]
    page.wait(lambda: "SELECT right" in page.one(".changes.broken .answer-start").text)
    page.choose("before", "checkpoint-10")
    page.wait(lambda: page.texts(".changes.fixed tbody th a") == ["easy-2", "hard-1"])
    assert "nobody tested" in page.one(".summary").text  # no report compares these two
    page.press("[")
    chosen = "document.querySelector('select[aria-label=after]').selectedOptions[0].textContent"
    page.wait(lambda: page.run(chosen).startswith("checkpoint-20"))


def test_versions(page: Page, url: str) -> None:
    page.open(url)
    page.choose("Version and base model", "0.1.0")
    page.wait(lambda: [row.split()[0] for row in page.texts(".checkpoints tbody tr")] == ["checkpoint-10", "base"])
    assert "archived" in page.one(".checkpoints tbody tr").text


def test_keys_lead_everywhere(page: Page, url: str) -> None:
    page.open(url)
    page.press("2")
    page.wait(lambda: page.all(".heat"))
    page.press("/")
    page.wait(lambda: page.run("document.activeElement.id") == "search")
    page.press(Keys.ESCAPE)
    page.press("3")
    page.wait(lambda: page.all(".changes"))
    page.press("?")
    page.wait(lambda: page.all("dialog[open]"))
    page.press(Keys.ESCAPE)
    page.wait(lambda: not page.all("dialog"))
    page.open(url, "#/case?id=easy-1")
    page.press("j")
    page.wait(lambda: page.texts(".case-head h2") == ["easy-2"])
    page.press("k")
    page.wait(lambda: page.texts(".case-head h2") == ["easy-1"])
    page.press(Keys.ESCAPE)
    page.wait(lambda: page.all(".heat"))


def test_dark_by_system_and_by_hand(page: Page, url: str) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    page.open(url)
    light = page.run(background)
    page.prefer("dark")
    page.wait(lambda: page.run(background) != light)
    page.press("t")
    page.wait(lambda: page.run(background) == light)
    page.driver.refresh()
    page.wait(lambda: page.all(".card"))
    assert page.run(background) == light
    page.run("localStorage.clear()")


@pytest.mark.parametrize("route", ["#/overview", "#/cases", "#/changes", "#/case?id=easy-3"])
def test_on_a_phone_nothing_is_wider_than_the_screen(page: Page, url: str, route: str) -> None:
    page.size(390, 844)
    page.open(url, route)
    page.wait(lambda: not page.texts(".answers .muted") or "Reading" not in page.one(".answers").text)
    assert page.run("document.documentElement.scrollWidth") <= 390
    small = page.run("Math.min(...[...document.querySelectorAll('.tab, button, select')].map((e) => e.offsetHeight))")
    assert small >= 28


def test_pictures_have_words(page: Page, url: str) -> None:
    page.open(url)
    page.wait(lambda: page.all(".chart canvas"))
    label = page.one(".chart").get_attribute("aria-label")
    assert label is not None
    assert label.startswith("Success rate over steps: step 10 50.0 %")
    assert page.run("document.querySelectorAll('img:not([alt]), button:not([aria-label]):empty').length") == 0
