"""The page's drawing tab in a real browser: draw, change within a painted mask, vary, caption."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from selenium.webdriver import ActionChains, Chrome, Keys
from selenium.webdriver.support.ui import Select

from sensorium.data.messages import MediaPart
from sensorium.errors import DataError
from sensorium.modalities import image
from tests.serving.browser import Page, chromium
from tests.serving.fake import FakeDraw, FakeEngine, app_of, png, served, wav
from tests.serving.test_page import _CONTRAST, _STICKS_OUT, press, walk


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    folder = tmp_path_factory.mktemp("browser")
    (folder / "quiet.wav").write_bytes(wav())
    with chromium(folder / "profile", folder / "quiet.wav") as browser:
        yield browser


@pytest.fixture
def drawer() -> FakeDraw:
    return FakeDraw()


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def page(browser: Chrome, drawer: FakeDraw, engine: FakeEngine) -> Iterator[Page]:
    with served(app_of(engine, draw=drawer)) as address:
        page = Page(browser, f"{address}/").open()
        page.until(lambda: page.one("#prompt").is_displayed(), "no drawing tab")
        yield page
        assert page.complaints() == []


def note(page: Page) -> str:
    return str(page.until(lambda: page.one("#studio-note").text, "nothing is said"))


def sheets(page: Page) -> list[list[str]]:
    """The seeds below each batch, the newest first."""
    return [[one.text for one in batch.find_elements("css selector", ".seed")] for batch in page.all(".batch")]


def show(page: Page, width: int = 20, height: int = 10, name: str = "a.png") -> None:
    page.bring("drop", name, "image/png", png(width, height))
    page.until(lambda: page.one("#canvas").is_displayed(), "no picture")


def mask_of(drawer: FakeDraw) -> np.ndarray:
    return image.decode(drawer.asked[-1][3])[..., 0]


def test_pictures_are_drawn_with_their_seeds(page: Page, drawer: FakeDraw) -> None:
    page.one("#prompt").send_keys("a red fox")
    page.one("#seed").send_keys("7")
    page.button("Draw it").click()
    page.until(lambda: sheets(page) == [["seed 7", "seed 8", "seed 9", "seed 10"]], "no pictures")
    assert drawer.asked == [("draw", "a red fox", 4, 7)]
    shown = page.browser.execute_script(
        "return [...document.querySelectorAll('.sheet img')].map((i) => i.naturalWidth)"
    )
    assert shown == [16] * 4 and page.one(".batch h3").text == "Drawing: a red fox"
    page.one("#seed").clear()
    Select(page.one("#count")).select_by_visible_text("1")
    page.one("#prompt").send_keys(Keys.ENTER)
    page.until(lambda: len(sheets(page)) == 2)
    assert len(sheets(page)[0]) == 1 and drawer.asked[-1][2] == 1
    save = page.one(".batch a")
    assert save.get_attribute("download").endswith(".png")


def test_a_mask_painted_with_the_pointer_reaches_the_drawer_at_the_pictures_size(page: Page, drawer: FakeDraw) -> None:
    show(page, 200, 100)
    canvas = page.one("#canvas")
    ActionChains(page.browser).move_to_element_with_offset(canvas, -40, 0).click_and_hold().move_by_offset(
        30, 0
    ).release().perform()
    page.one("#prompt").send_keys("make it night")
    page.button("Change it").click()
    page.until(lambda: sheets(page), "no pictures")
    kind, picture, prompt, *_ = drawer.asked[-1]
    assert (kind, picture, prompt) == ("edit", png(200, 100), "make it night")
    mask = mask_of(drawer)
    assert mask.shape == (100, 200) and mask[50, 85] == 255 and mask[0, 199] == 0
    assert 0.01 < (mask > 127).mean() < 0.6


def test_unpainted_all_of_it_may_change_and_a_drawn_picture_can_be_changed(page: Page, drawer: FakeDraw) -> None:
    page.one("#prompt").send_keys("fox")
    page.one("#seed").send_keys("3")
    page.button("Draw it").click()
    page.button("Change the picture of seed 4").click()
    page.until(lambda: page.one("#canvas").is_displayed())
    page.button("Change it").click()
    page.until(lambda: len(sheets(page)) == 2)
    assert drawer.asked[-1][:1] == ("edit",) and drawer.asked[-1][3] is None
    assert image.header(drawer.asked[-1][1])[1:] == (16, 16)
    page.button("Variations").click()
    page.until(lambda: len(sheets(page)) == 3)
    assert drawer.asked[-1][0] == "variations"
    page.button("Leave the picture").click()
    assert page.button("Draw it") and not page.one("#easel").is_displayed()


def test_a_picture_is_captioned(page: Page, engine: FakeEngine) -> None:
    show(page)
    page.button("Say what it shows").click()
    page.until(lambda: note(page) == "It shows: A red fox.")
    [message] = engine.asked[-1][0]
    [part] = [part for part in message.parts if isinstance(part, MediaPart)]
    assert part.reference == png(20, 10)


def test_everything_can_be_done_from_the_keyboard(page: Page, drawer: FakeDraw) -> None:
    assert page.focus() == "What shall it show"
    Select(page.one("#count")).select_by_visible_text("1")
    show(page, 100, 100)
    page.until(lambda: page.focus() == "What shall change")
    press(page, "night")
    walk(page, "The picture. Paint where it may change.")
    press(page, Keys.ARROW_LEFT, Keys.ARROW_LEFT, Keys.SPACE)
    walk(page, "Clear the mask")
    press(page, Keys.ENTER)
    page.browser.execute_script("document.getElementById('canvas').focus()")
    press(page, Keys.SPACE)
    page.one("#prompt").send_keys(Keys.ENTER)
    page.until(lambda: sheets(page))
    mask = mask_of(drawer)
    assert mask[50, 36] == 255 and mask[50, 70] == 0, "where the brush went, and the cleared stroke is gone"
    walk(page, "Chat")
    press(page, Keys.ENTER)
    assert page.focus() == "Your question" and not page.one("#prompt").is_displayed()
    walk(page, "Draw")
    press(page, Keys.ENTER)
    assert page.focus() == "What shall change"


def test_what_is_refused_is_said_in_words(page: Page, drawer: FakeDraw) -> None:
    page.button("Draw it").click()
    assert note(page) == "Write what to draw." and page.focus() == "What shall it show"
    drawer.error = DataError("the words are written in Cyrillic letters", where="prompt", mend="write English")
    page.one("#prompt").send_keys("лиса\n")
    page.until(lambda: note(page) == "The words are written in Cyrillic letters; write English.")
    page.bring("drop", "notes.txt", "text/plain", b"hello")
    page.until(lambda: note(page) == "notes.txt cannot be opened as a picture.")
    assert drawer.asked and sheets(page) == []


def test_stopping(page: Page, drawer: FakeDraw) -> None:
    drawer.pause = 1.5
    page.one("#prompt").send_keys("fox\n")
    page.button("Stop").click()
    page.until(lambda: note(page) == "Stopped.")
    assert sheets(page) == []


def test_a_run_that_does_not_draw_has_no_such_tab(browser: Chrome) -> None:
    with served(app_of()) as address:
        page = Page(browser, f"{address}/").open()
        page.until(lambda: page.one("#model").text == "tiny")
        assert not page.one("#modes").is_displayed() and page.one("#question").is_displayed()


@pytest.mark.parametrize("width", [360, 1440])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_and_nothing_sticks_out(browser: Chrome, width: int, scheme: str) -> None:
    size = {"width": width, "height": 740, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    wish = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", wish)
    try:
        with served(app_of(draw=FakeDraw())) as address:
            page = Page(browser, f"{address}/").open()
            page.until(lambda: page.one("#prompt").is_displayed())
            browser.execute_script("document.getElementById('model').textContent = 'a-long-name-of-a-run'.repeat(9)")
            page.one("#prompt").send_keys("word" * 60)
            page.button("Draw it").click()
            page.until(lambda: sheets(page))
            page.bring("drop", "x.txt", "text/plain", b"x")
            note(page)
            show(page, 300, 20)
            found = browser.execute_script(_CONTRAST)
            assert len(found) > 10 and found[0][0] >= 4.5, found[0]
            assert browser.execute_script(_STICKS_OUT) == []
            assert browser.execute_script("return document.documentElement.scrollWidth") <= width
            assert page.complaints() == [] and page.one("#draw").text == "Change it"
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
