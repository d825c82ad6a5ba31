"""Chromium without a screen, its microphone fed from a file, for tests of the web page."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
]
# Files as a person's hand would bring them: dropped on, or pasted into, the page.
_BRING = """
const [event, name, type, data] = arguments;
const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
const carried = new DataTransfer();
carried.items.add(new File([bytes], name, { type }));
const options = { bubbles: true, cancelable: true };
if (event === "paste") {
  document.activeElement.dispatchEvent(new ClipboardEvent("paste", { ...options, clipboardData: carried }));
} else {
  for (const each of ["dragenter", "dragover", "drop"]) {
    document.querySelector("main").dispatchEvent(new DragEvent(each, { ...options, dataTransfer: carried }));
  }
}
"""


@contextmanager
def chromium(profile: Path, microphone: Path, *flags: str) -> Iterator[Chrome]:
    """A browser with a profile of its own; the test fails where it is not installed."""
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not program or not driver:
        pytest.fail("the page is tested in Chromium, which is not here; apt-get install chromium chromium-driver")
    options = ChromeOptions()
    options.binary_location = program
    own = [f"--user-data-dir={profile}", f"--use-file-for-fake-audio-capture={microphone}%noloop"]
    for flag in [*FLAGS, *own, *flags]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = Chrome(options=options, service=Service(executable_path=driver))
    try:
        yield browser
    finally:
        browser.quit()


class Page:
    """The page as a person sees it: found by what things are called, not by how they are built."""

    def __init__(self, browser: Chrome, address: str) -> None:
        self.browser, self.address = browser, address

    def open(self) -> Page:
        self.browser.get(self.address)
        return self

    def one(self, selector: str) -> WebElement:
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[WebElement]:
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def button(self, name: str) -> WebElement:
        """The button of this accessible name that can be seen."""
        return self.until(
            lambda: next((b for b in self.all("button") if b.is_displayed() and b.accessible_name == name), None),
            f"no button {name!r}",
        )

    def until(self, condition: Any, what: str = "") -> Any:
        """What ``condition`` gives, once it is true."""
        wait = WebDriverWait(self.browser, 60, 0.05, [StaleElementReferenceException])
        return wait.until(lambda _: condition(), what)

    def write(self, text: str) -> None:
        self.one("#question").send_keys(text)

    def bring(self, event: str, name: str, type_: str, data: bytes) -> None:
        """``drop`` or ``paste`` a file."""
        self.browser.execute_script(_BRING, event, name, type_, base64.b64encode(data).decode())

    def answers(self) -> list[str]:
        return [words.text for words in self.all(".answer .words")]

    def remark(self) -> str:
        """What the page says below the last answer, once it does."""
        return str(self.until(lambda: [r.text for r in self.all(".answer .remark") if r.text], "no remark")[-1])

    def focus(self) -> str:
        """The accessible name of what has the focus."""
        return str(self.browser.switch_to.active_element.accessible_name)

    def complaints(self) -> list[str]:
        """What the browser's console holds of errors: refused by the content policy, or not caught."""
        found = [entry for entry in self.browser.get_log("browser") if entry["level"] == "SEVERE"]
        return [entry["message"] for entry in found if "Failed to load resource" not in entry["message"]]
