"""Outputs, names and prompts that attack whoever looks at them: nothing runs, nothing is asked for, all is shown."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from selenium.common.exceptions import NoAlertPresentException

from sidestep.evaluator.cases.result import CheckResult
from sidestep.shared.protocol.layout import ReportsFolder
from tests.browser.page import LOCAL_SCHEMES, Page
from tests.browser.reports import F, P, make_report, put

ATTACKS = [
    "<script>window.hit = 1; alert(1)</script>",
    "</script><script>window.hit = 1; alert(1)</script>",
    "</pre></td></main><script src=http://127.0.0.1:9/x.js></script>",
    '<img src="http://127.0.0.1:9/x.png" onerror="window.hit = 1; alert(1)">',
    "<svg onload=alert(1)><script>alert(1)</script></svg>",
    '<svg><a xlink:href="javascript:alert(1)"><text>click</text></a></svg>',
    '<a href="javascript:alert(1)">click</a> [click](javascript:alert(1))',
    '<iframe srcdoc="<script>parent.hit = 1</script>"></iframe>',
    '<style>@import "http://127.0.0.1:9/x.css";</style><link rel=stylesheet href=http://127.0.0.1:9/x.css>',
    '<form action="http://127.0.0.1:9/"><button autofocus onfocus=alert(1)>x</button></form>',
    '<meta http-equiv="refresh" content="0; url=http://127.0.0.1:9/">',
    '"><details open ontoggle=alert(1)>',
    "{{SCRIPT}} ${alert(1)} {{constructor.constructor('alert(1)')()}}",
    "\x1b[31mred\x1b]0;title\x07\x00\x9b31m",
    "\u202eesrever\u2066\u200f \ufeff",
    "\ud800 half",
    "__proto__",
]

# What could run or ask for something; the page itself has none of it in its main part.
LIVING = ", ".join(
    [f"main {tag}" for tag in ("script", "img", "svg", "iframe", "style", "meta", "link", "form[action]", "object")]
    + [f"main [{event}]" for event in ("onerror", "onload", "onfocus", "ontoggle", "onclick", "style*=url")]
    + ["a[href^='javascript:']"]
)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Every attack as output, as id, as name, as category, as check detail, as version and reason."""
    reports = ReportsFolder(tmp_path_factory.mktemp("hostile"))
    names = [f"{number} {text}".replace("\ud800", "") for number, text in enumerate(ATTACKS)] + ["__proto__"]
    outputs = dict(zip(names, [*ATTACKS, "x"], strict=True))
    for at, (step, status) in enumerate(((10, P), (20, F))):
        report = make_report(step, dict.fromkeys(names, status), version=ATTACKS[0], at=at, outputs=outputs)
        cases = tuple(
            replace(
                case, name=case.output, category=case.output, failure_reason=case.output,
                keywords_found=(case.output,), expected_keywords=(case.output, ATTACKS[0]),
                output=f"{case.output} {step}",
                checks=(CheckResult(scorer=ATTACKS[0], passed=False, score=0.0, detail=case.output),),
            )
            for case in report.test_cases
        )  # fmt: skip
        put(reports, replace(report, test_cases=cases, expert_name=ATTACKS[3], reason=ATTACKS[4]))
    return reports.dashboard.as_uri()


def assert_nothing_happened(page: Page) -> None:
    with pytest.raises(NoAlertPresentException):
        _ = page.driver.switch_to.alert.text
    assert page.run("window.hit === undefined")
    assert page.run(f"document.querySelectorAll({LIVING!r}).length") == 0
    assert [url for url in page.requests() if not url.startswith(LOCAL_SCHEMES)] == []
    assert page.complaints() == []


@pytest.mark.parametrize("route", ["#/overview", "#/cases", "#/changes"])
def test_pages_of_many_cases(page: Page, hostile: str, route: str) -> None:
    page.open(hostile, route)
    page.wait(lambda: page.all(".panel"))
    assert ATTACKS[3] in page.one("#top h1").text
    assert_nothing_happened(page)


def test_every_attack_is_shown_as_text(page: Page, hostile: str) -> None:
    page.open(hostile, "#/cases")
    page.run("document.querySelector('.heat').focus()")
    page.press("\ue007")  # Enter
    for _ in ATTACKS:
        page.wait(lambda: len(page.all(".answer .output")) == 2)
        output = page.one(".answer .output").text
        assert output
        assert not set(output) & set("\x1b\x07\x00\x9b\u202e\u2066\u200f\ufeff")
        assert_nothing_happened(page)
        before = page.one(".case-head h2").text
        page.press("j")
        page.wait(partial(_has_moved_on, page, before))


def _has_moved_on(page: Page, before: str) -> bool:
    has_next = page.one('button[aria-label="next case"]').is_enabled()
    return page.one(".case-head h2").text != before or not has_next


def test_the_attacks_are_whole(page: Page, hostile: str) -> None:
    """Made inert is not taken away: what the model said can be read."""
    page.open(hostile, "#/changes")
    page.click(".changes.broken tbody a")
    page.wait(lambda: len(page.all(".answer .output")) == 2)
    assert page.one(".answer .output").text == f"{ATTACKS[0]} 10"


def test_a_hostile_address(page: Page, shop: Path) -> None:
    attack = "%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E"
    for route in (
        f"#/case?id={attack}",
        f"#/cases?text={attack}&category={attack}&status=__proto__",
        f"#/{attack}",
        "#/constructor",
    ):
        page.open(shop.as_uri(), route)
        assert_nothing_happened(page)
