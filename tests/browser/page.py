"""A page in a browser, with the few things that the dashboard's tests do with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

WAIT_SECONDS = 20
LOCAL_SCHEMES = ("file:", "about:", "blob:", "data:")


class Page:
    """A page in the browser, and the few things that tests do with it."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def open(self, url: str, route: str = "#/overview") -> None:
        self.driver.get("about:blank")
        self.driver.get_log("performance")
        self.driver.get(url + route)
        self.wait(lambda: self.all("#top h1"))

    def wait(self, condition: Callable[[], Any]) -> Any:
        """Until the condition holds; an element that was drawn anew in the meantime is looked up again."""
        wait = WebDriverWait(self.driver, WAIT_SECONDS, 0.05, ignored_exceptions=[StaleElementReferenceException])
        return wait.until(lambda _: condition())

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def texts(self, selector: str) -> list[str]:
        """What is read at one moment: the page cannot be drawn anew in between."""
        script = "return [...document.querySelectorAll(arguments[0])].map((element) => element.innerText.trim())"
        return list(self.driver.execute_script(script, selector))

    def click(self, selector: str) -> None:
        def is_clicked() -> bool:
            self.one(selector).click()
            return True

        self.wait(is_clicked)

    def press(self, keys: str) -> None:
        self.driver.switch_to.active_element.send_keys(keys)

    def choose(self, label: str, text: str) -> None:
        for option in self.all(f'select[aria-label="{label}"] option'):
            if text in option.text:
                option.click()
                return
        raise AssertionError(f"{label} has no {text!r}")

    def run(self, script: str) -> Any:
        return self.driver.execute_script(f"return {script}")

    def size(self, width: int, height: int) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def prefer(self, scheme: str) -> None:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def requests(self) -> list[str]:
        """Every address asked for since the page was opened."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        return [
            message["params"]["request"]["url"]
            for message in messages
            if message["method"] == "Network.requestWillBeSent"
        ]

    def complaints(self) -> list[str]:
        """Errors in the console: exceptions, and what the content security policy stopped."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]
