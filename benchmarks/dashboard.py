"""What the dashboard costs at 1,000 cases by 200 checkpoints: size, opening, scrolling, and bringing it up to date.

Reports are made up, but like those of a training: half of the answers stay as they were from one checkpoint to the
next, the others change in a few words. Opening and scrolling are measured in headless Chromium from disk, always with a
fresh profile; without Chromium these are left out, and the output says so.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from sidestep.evaluator.cases.result import CaseResult, CaseStatus, CheckResult
from sidestep.evaluator.presenting.dashboard.build import write_dashboard
from sidestep.evaluator.results.counting import count_by_category, count_results
from sidestep.evaluator.results.report import ComparisonEntry, Report, TimingEntry, TrainingEntry
from sidestep.evaluator.results.store import StoredReport
from sidestep.shared.protocol.identity import CheckpointKey, Identity
from sidestep.shared.protocol.layout import ReportsFolder

WORDS = [
    "".join(random.Random(number).choices("abcdefghijklmnopqrstuvwxyz_", k=2 + number % 9)) for number in range(4000)
]
ANSWER_WORDS = 60
CHROMIUM_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


def made_up_reports(cases: int, checkpoints: int) -> Iterator[Report]:
    """A training: answers change less and less often, and pass more and more often."""
    chance = random.Random(1)
    answers = [chance.choices(WORDS, k=ANSWER_WORDS) for _ in range(cases)]
    ability = [chance.random() for _ in range(cases)]
    before: dict[str, CaseStatus] = {}
    for number in range(checkpoints):
        entries = []
        for index in range(cases):
            if chance.random() < 0.5:
                for _ in range(4):
                    answers[index][chance.randrange(ANSWER_WORDS)] = chance.choice(WORDS)
            passed = chance.random() < 0.1 + 0.8 * ability[index] * (number + 20) / (checkpoints + 20)
            entries.append(_case(index, passed, " ".join(answers[index])))
        yield _report(number, tuple(entries), before)
        before = {case.id: case.status for case in entries}


def _case(index: int, passed: bool, answer: str) -> CaseResult:
    return CaseResult(
        id=f"case-{index:04}", name=f"a case about {WORDS[index]}", category=f"category {index % 12}",
        status=CaseStatus.PASSED if passed else CaseStatus.FAILED, score=10.0 if passed else float(index % 8),
        output=answer, checks=(CheckResult(scorer="exact_match", passed=passed, score=10.0 if passed else 0.0),),
        definition_hash=f"{index:064x}", output_tokens=ANSWER_WORDS, finish_reason="stop",
    )  # fmt: skip


def _report(number: int, cases: tuple[CaseResult, ...], before: dict[str, CaseStatus]) -> Report:
    step = 10 * (number + 1)
    identity = Identity(CheckpointKey("model", step, f"m{step}"), "s" * 64, "d")
    broken, fixed = (
        tuple(case.id for case in cases if case.status is now and before.get(case.id, now) is not now)
        for now in (CaseStatus.FAILED, CaseStatus.PASSED)
    )
    entry = ComparisonEntry(against=f"checkpoint-{step - 10}", new_failures=broken, fixed_failures=fixed)
    return Report(
        checkpoint=identity.label, step=step, expert_name="expert-large", expert_version="1.0.0", test_cases=cases,
        test_results=count_results(cases), categories=count_by_category(cases), comparisons={"previous": entry},
        identity=identity,
        training=TrainingEntry(loss=3 / (number + 2)),
        timing=TimingEntry(finished_at=f"2026-01-01T{number // 60:02}:{number % 60:02}:00+00:00"),
    )  # fmt: skip


def time_updates(folder: ReportsFolder, reports: list[Report]) -> list[float]:
    """Seconds of every update as one report after another is committed."""
    committed: list[StoredReport] = []
    took = []
    for report in reports:
        committed.append(StoredReport(folder.root, report, False))
        began = time.perf_counter()
        write_dashboard(folder, committed)
        took.append(time.perf_counter() - began)
    return took


def open_page(url: str, route: str, ready: str) -> dict[str, float]:
    """Milliseconds from navigation to the picture, in a fresh browser; then frames while the heat map scrolls."""
    with tempfile.TemporaryDirectory() as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium") or ""
        for flag in (*CHROMIUM_FLAGS, f"--user-data-dir={profile}", "--window-size=1280,900"):
            options.add_argument(flag)
        options.set_capability("pageLoadStrategy", "none")
        driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
        try:
            driver.set_script_timeout(60)
            driver.get(url + route)
            shown = driver.execute_async_script(_UNTIL_SHOWN, ready)
            if "cases" not in route:
                return {"shown": shown}
            frames = driver.execute_async_script(_SCROLL)
            return {"shown": shown, "median frame": statistics.median(frames), "longest frame": max(frames)}
        finally:
            driver.quit()


_UNTIL_SHOWN = """
const [selector, done] = arguments;
const check = () => {
  if (!document.querySelector(selector)) return setTimeout(check, 5);
  requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now())));
};
check();
"""
_SCROLL = """
const [done] = arguments;
const heat = document.querySelector(".heat");
const frames = [];
let last = null;
const step = (now) => {
  if (last !== null) frames.push(now - last);
  last = now;
  heat.scrollTop += 90;
  heat.scrollLeft += 7;
  if (frames.length < 150) requestAnimationFrame(step);
  else done(frames.slice(5));
};
requestAnimationFrame(step);
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--checkpoints", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--keep", type=Path, help="leave the dashboard in this folder")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = ReportsFolder(arguments.keep or Path(temporary))
        folder.root.mkdir(parents=True, exist_ok=True)
        reports = list(made_up_reports(arguments.cases, arguments.checkpoints))
        took = time_updates(folder, reports)
        answers = sum(len(case.output) for report in reports for case in report.test_cases)
        found: dict[str, object] = {
            "cases": arguments.cases, "checkpoints": arguments.checkpoints, "answers MB": round(answers / 1e6, 1),
            "index.html MB": round(folder.dashboard.stat().st_size / 1e6, 2),
            "update median s": round(statistics.median(took), 3), "update last 8 s": round(max(took[-8:]), 3),
            "updates in all s": round(sum(took), 1),
        }  # fmt: skip
        if shutil.which("chromium") and shutil.which("chromedriver"):
            url = folder.dashboard.resolve().as_uri()
            for route, ready in (("#/overview", ".chart canvas"), ("#/cases", ".heat-canvas[style]")):
                runs = [open_page(url, route, ready) for _ in range(arguments.repeats)]
                found[route] = {f"{name} ms": [round(run[name]) for run in runs] for name in runs[0]}
        else:
            found["browser"] = "no chromium here: opening and scrolling were not measured"
        sys.stdout.write(json.dumps(found, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
