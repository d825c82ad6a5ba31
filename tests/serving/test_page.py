"""The web page in a real browser, over the real HTTP side and an engine that says what a test tells it to."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from selenium.webdriver import ActionChains, Chrome, Keys

from sensorium.assets.speech import synthesise
from sensorium.data.messages import MediaPart, Message, TextPart
from sensorium.modalities import audio, image
from sensorium.run import sha256_text
from sensorium.serving.protocols import TooLong
from tests.serving.browser import Page, chromium
from tests.serving.fake import KEY, FakeEngine, app_of, png, served

QUESTION = "What is the name of this animal?"


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A spoken question, which the browser hears as its microphone."""
    samples, rate = synthesise(QUESTION)
    file = tmp_path_factory.mktemp("spoken") / "question.wav"
    soundfile.write(file, np.pad(samples, rate // 4), rate)
    return file


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory, spoken: Path) -> Iterator[Chrome]:
    with chromium(tmp_path_factory.mktemp("profile"), spoken) as browser:
        yield browser


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def page(browser: Chrome, engine: FakeEngine) -> Iterator[Page]:
    """The page, opened; whatever a test does, nothing is refused by the page's own policy, and no error is lost."""
    with served(app_of(engine)) as address:
        page = Page(browser, f"{address}/").open()
        page.until(lambda: page.one("#model").text == "tiny", "no model's name")
        yield page
        assert page.complaints() == []


def asked(engine: FakeEngine, count: int) -> list[Message]:
    """The messages of the newest of ``count`` requests."""
    assert len(engine.asked) == count
    return engine.asked[-1][0]


# -- asking ----------------------------------------------------------------------------------------


_WATCH = """
window.seen = [];
const look = () => {
  const words = document.querySelector(".answer .words")?.textContent;
  if (words && words !== seen.at(-1)) seen.push(words);
};
const all = { subtree: true, childList: true, characterData: true };
new MutationObserver(look).observe(document.getElementById("conversation"), all);
"""


def test_a_typed_question_is_answered_as_the_answer_comes(page: Page, engine: FakeEngine) -> None:
    engine.words, engine.pause = ["It ", "is ", "a ", "fox."], 0.2
    page.browser.execute_script(_WATCH)
    page.write("what is it?\n")
    page.until(lambda: page.answers() == ["It is a fox."])
    assert page.browser.execute_script("return seen") == ["It ", "It is ", "It is a ", "It is a fox."]
    assert [m.text for m in asked(engine, 1)] == ["what is it?"]
    assert page.one(".question .bubble").text == "what is it?"


def test_a_follow_up_brings_the_conversation_along(page: Page, engine: FakeEngine) -> None:
    page.write("what is it?\n")
    page.button("Copy")
    ActionChains(page.browser).send_keys("and").key_down(Keys.SHIFT).send_keys(Keys.ENTER).key_up(Keys.SHIFT).perform()
    page.write("its group?\n")
    page.until(lambda: len(engine.asked) == 2 and len(page.answers()) == 2)
    told = [(message.role, message.text) for message in asked(engine, 2)]
    assert told == [("user", "what is it?"), ("assistant", "A red fox."), ("user", "and\nits group?")]


def test_a_new_conversation_forgets_the_old_one(page: Page, engine: FakeEngine) -> None:
    page.write("what is it?\n")
    page.button("Copy")
    page.button("New conversation").click()
    assert page.all("#conversation > li") == []
    page.write("hello\n")
    page.until(lambda: page.answers() == ["A red fox."])
    assert [message.text for message in asked(engine, 2)] == ["hello"]


def test_what_a_model_says_is_text_and_never_markup(page: Page, engine: FakeEngine) -> None:
    engine.words = ["<img src=x onerror=alert(1)>", "<script>document.title='taken'</script>", "**", "\n", "end"]
    page.write("<b>bold</b>\n")
    page.until(lambda: page.answers() and page.answers()[0].endswith("end"))
    assert page.answers()[0].startswith("<img src=x onerror=alert(1)><script>")
    assert page.one(".bubble").text == "<b>bold</b>"
    assert page.browser.title == "Sensorium"


def test_stop_ends_an_answer_and_keeps_what_was_said(page: Page, engine: FakeEngine) -> None:
    engine.words, engine.pause = [f"word{i} " for i in range(200)], 0.05
    page.write("tell me everything\n")
    page.until(lambda: page.answers() and "word2" in page.answers()[0])
    page.button("Stop the answer").click()
    assert page.remark() == "Stopped."
    page.until(lambda: engine.cancelled == 1, "the engine went on")
    said = page.answers()[0]
    engine.words = ["Yes."]
    page.write("go on\n")
    page.until(lambda: len(page.answers()) == 2 and page.answers()[1] == "Yes.")
    assert [m.role for m in asked(engine, 2)] == ["user", "assistant", "user"]
    assert engine.asked[1][0][1].text.rstrip() == said.rstrip()


# -- showing ---------------------------------------------------------------------------------------


def pictures(message: Message) -> list[Any]:
    return [part.reference for part in message.parts if isinstance(part, MediaPart) and part.type == "image"]


@pytest.mark.parametrize("way", ["drop", "paste", "choose"])
def test_a_picture_goes_with_the_question(page: Page, engine: FakeEngine, tmp_path: Path, way: str) -> None:
    data = png(40, 30)
    if way == "choose":
        (tmp_path / "fox.png").write_bytes(data)
        page.one("#files").send_keys(str(tmp_path / "fox.png"))
    else:
        page.bring(way, "fox.png", "image/png", data)
    thumbnail = page.until(lambda: page.all("#tray img"), "no thumbnail")[0]
    page.until(lambda: page.browser.execute_script("return arguments[0].naturalWidth", thumbnail) == 40)
    page.write("what is it?\n")
    page.until(lambda: page.answers() == ["A red fox."])
    [message] = asked(engine, 1)
    assert pictures(message) == [data]  # a small picture is not changed
    assert isinstance(message.parts[-1], TextPart) and message.text == "what is it?"
    assert page.all("#tray li") == [] and len(page.all(".question img")) == 1


def test_a_large_picture_is_made_smaller_before_it_travels(page: Page, engine: FakeEngine) -> None:
    page.bring("drop", "wide.png", "image/png", png(3000, 1500))
    page.until(lambda: page.all("#tray img"))
    page.write("what is it?\n")
    page.until(lambda: page.answers() == ["A red fox."])
    assert image.header(pictures(asked(engine, 1)[0])[0])[1:] == (1280, 640)


def test_a_picture_can_be_taken_out_again(page: Page, engine: FakeEngine) -> None:
    for name in ("one.png", "two.png"):
        page.bring("drop", name, "image/png", png(10, 20 if name == "two.png" else 10))
        page.button(f"Remove {name}")
    page.button("Remove one.png").click()
    page.write("what is it?\n")
    page.until(lambda: page.answers() == ["A red fox."])
    assert [image.header(p)[1:] for p in pictures(asked(engine, 1)[0])] == [(10, 20)]


@pytest.mark.parametrize(
    ("name", "type_", "data", "line"),
    [
        ("notes.txt", "text/plain", b"hello", "notes.txt is neither a picture nor a sound."),
        ("cut.png", "image/png", png()[:40], "cut.png cannot be opened: it is damaged, or of a kind this browser does not know."),
        ("a.flac", "audio/flac", b"fLaC", "a.flac is of a kind that is not heard here: use WAV or MP3."),
        ("empty.wav", "audio/wav", b"", "empty.wav is empty."),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_shown_is_refused_in_words(
    page: Page, name: str, type_: str, data: bytes, line: str
) -> None:
    page.bring("drop", name, type_, data)
    page.until(lambda: page.one("#notice").text == line, line)
    assert page.all("#tray li") == []


# -- speaking --------------------------------------------------------------------------------------


def speak(page: Page, seconds: float) -> None:
    page.button("Record your voice").click()
    page.button("Stop recording")
    time.sleep(seconds)
    page.button("Stop recording").click()
    page.until(lambda: page.all("#tray audio"), "no player")


def heard(message: Message) -> bytes:
    [part] = [part for part in message.parts if isinstance(part, MediaPart) and part.type == "audio"]
    assert isinstance(part.reference, bytes)
    return part.reference


def test_a_recorded_question_is_sent_and_can_be_played(page: Page, engine: FakeEngine, spoken: Path) -> None:
    speak(page, 3.0)
    player = page.one("#tray audio")
    page.until(lambda: page.browser.execute_script("return arguments[0].duration", player) > 2, "it cannot be played")
    page.button("Send").click()  # no words are needed
    page.until(lambda: page.answers() == ["A red fox."])
    data = heard(asked(engine, 1)[0])
    kind, seconds, rate, channels = audio.header(data)
    assert (kind, rate, channels) == ("WAV", 16_000, 1)
    assert 2 < seconds < 5
    assert loudness_alike(audio.decode(data), audio.decode(spoken.read_bytes())) > 0.8
    assert len(page.all(".question audio")) == 1


def loudness_alike(found: np.ndarray, said: np.ndarray) -> float:
    """The correlation of two sounds' loudness over time, at the shift that fits best: the same words, or not."""
    a, b = (np.sqrt(np.mean(s[: len(s) // 160 * 160].reshape(-1, 160) ** 2, 1)) for s in (found, said))
    b = np.trim_zeros(np.where(b > 1e-3, b, 0))
    shifts = [a[i : i + len(b)] for i in range(len(a) - len(b) + 1)]
    return max(float(np.corrcoef(part, b)[0, 1]) for part in shifts if part.std() > 0)


@pytest.mark.real
def test_a_recorded_question_is_understood(page: Page, engine: FakeEngine) -> None:
    from sensorium import assets
    from sensorium.models.recogniser import Recogniser

    speak(page, 3.0)
    page.button("Send").click()
    page.until(lambda: page.answers() == ["A red fox."])
    words = Recogniser(assets.locate("whisper-tiny.en") / "ctranslate2")(heard(asked(engine, 1)[0]))
    assert re.sub(r"\W+", " ", words).strip().lower() == QUESTION.lower().rstrip("?")


def test_escape_throws_a_recording_away(page: Page) -> None:
    page.button("Record your voice").click()
    page.button("Stop recording")
    ActionChains(page.browser).send_keys(Keys.ESCAPE).perform()
    page.button("Record your voice")
    assert page.all("#tray li") == []


# -- what goes wrong -------------------------------------------------------------------------------


def test_a_busy_server_is_said_in_words_and_asked_again(page: Page, engine: FakeEngine) -> None:
    engine.full = True
    page.write("what is it?\n")
    assert page.remark() == "The server is busy. Try again in 3 seconds."
    engine.full = False
    page.button("Try again").click()
    page.until(lambda: page.answers() == ["A red fox."])
    assert len(page.all(".question")) == 1


def test_an_answer_that_breaks_off_says_so(page: Page, engine: FakeEngine) -> None:
    engine.error = ZeroDivisionError("ours")
    page.write("what is it?\n")
    assert page.remark() == "Something went wrong here."
    assert [answer.rstrip() for answer in page.answers()] == ["A red"]


def test_a_server_that_is_gone_is_said_in_words(browser: Chrome) -> None:
    with served(app_of()) as address:
        page = Page(browser, f"{address}/").open()
        page.until(lambda: page.one("#model").text == "tiny")
    page.write("what is it?\n")
    assert page.remark() == "The server cannot be reached. Check that it is running."


def test_a_refused_picture_is_said_in_the_servers_words(page: Page) -> None:
    page.bring("drop", "a.wav", "audio/wav", b"RIFF no sound at all")
    page.until(lambda: page.all("#tray li"))
    page.write("what is it?\n")
    assert "sound" in page.remark()
    assert page.remark().endswith(".")


class Forgetful(FakeEngine):
    """An engine whose context holds three messages."""

    async def submit(self, messages: list[Message], *rest: Any, **named: Any) -> Any:
        if len(messages) > 3:
            raise TooLong(100, 90)
        return await super().submit(messages, *rest, **named)


def test_the_oldest_turns_are_left_out_where_the_context_is_full(browser: Chrome) -> None:
    engine = Forgetful()
    with served(app_of(engine)) as address:
        page = Page(browser, f"{address}/").open()
        for number, words in enumerate(("one", "two", "three")):
            page.write(f"{words}\n")
            page.until(lambda n=number: len(page.all(".actions button")) == n + 1)
        assert [message.text for message in engine.asked[-1][0]] == ["two", "A red fox.", "three"]
        assert "left out" in page.one("#notice").text


def test_a_key_is_asked_for_and_kept_in_memory_only(browser: Chrome) -> None:
    engine = FakeEngine()
    with served(app_of(engine, key_hashes={"test": sha256_text(KEY)})) as address:
        page = Page(browser, f"{address}/").open()
        page.until(lambda: page.focus() == "API key", "no dialog")
        page.one("#key").send_keys("sk-wrong\n")
        page.until(lambda: "did not take that key" in page.one("#key-wrong").text)
        page.one("#key").send_keys(KEY + "\n")
        page.until(lambda: page.one("#model").text == "tiny")
        page.write("what is it?\n")
        page.until(lambda: page.answers() == ["A red fox."])
        kept = "return JSON.stringify([localStorage, sessionStorage, document.cookie, document.body.innerHTML])"
        assert KEY not in browser.execute_script(kept)
        assert browser.execute_script("return document.getElementById('key').value") == ""
        page.open()  # reloading forgets it
        page.until(lambda: page.focus() == "API key")
        page.button("Not now").click()
        page.until(lambda: page.one("#notice").text == "The server asks for a key.")


# -- for everybody ---------------------------------------------------------------------------------


def press(page: Page, *keys: str) -> None:
    ActionChains(page.browser).send_keys(*keys).perform()


def walk(page: Page, name: str) -> None:
    """Press Tab until what is called ``name`` has the focus, which must then be seen."""
    for _ in range(20):
        if page.focus() == name:
            focused = page.browser.switch_to.active_element
            seen = "const s = getComputedStyle(arguments[0]); return s.outlineStyle !== 'none' || arguments[0].id === 'question'"
            assert page.browser.execute_script(seen, focused), f"{name} shows no focus"
            return
        press(page, Keys.TAB)
    pytest.fail(f"Tab never comes to {name!r}")


def test_everything_can_be_done_from_the_keyboard(page: Page, engine: FakeEngine) -> None:
    engine.words, engine.pause = [f"word{i} " for i in range(200)], 0.05
    assert page.focus() == "Your question"
    walk(page, "Record your voice")
    press(page, Keys.SPACE)
    page.button("Stop recording")
    assert page.focus() == "Stop recording"
    time.sleep(1)
    press(page, Keys.SPACE)
    page.until(lambda: page.all("#tray audio"))
    page.until(lambda: page.focus() == "Your question")
    press(page, "what do you hear?", Keys.ENTER)
    page.until(lambda: page.answers() and "word2" in page.answers()[0])
    press(page, Keys.ESCAPE)
    assert page.remark() == "Stopped."
    walk(page, "Copy")
    walk(page, "Dark mode")
    before = page.browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    press(page, Keys.ENTER)
    assert page.browser.execute_script("return getComputedStyle(document.body).backgroundColor") != before
    press(page, Keys.ENTER)
    walk(page, "New conversation")
    press(page, Keys.ENTER)
    assert page.all("#conversation > li") == []
    assert page.focus() == "Your question"


def test_answers_are_read_out_a_sentence_at_a_time(page: Page, engine: FakeEngine) -> None:
    engine.words = ["It is", " a fox. ", "It has", " a tail."]
    page.write("what is it?\n")
    page.button("Copy")
    region = page.one("#announcer")
    assert region.get_attribute("aria-live") == "polite"
    texts = page.browser.execute_script("return [...arguments[0].children].map((p) => p.textContent.trim())", region)
    assert texts == ["It is a fox.", "It has a tail."]


_CONTRAST = """
// WCAG 2.2, 1.4.3: the contrast of every text that is seen with what lies behind it, the lowest first.
const parts = (colour) => (colour.match(/[\\d.]+/g) ?? []).map(Number);
const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
  .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
  .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const ground = (node) => {
  for (let at = node; at; at = at.parentElement) {
    const found = parts(getComputedStyle(at).backgroundColor);
    if (found.length === 3 || found[3] === 1) return found;
  }
  return [255, 255, 255];
};
const rows = [];
for (const node of document.querySelectorAll("body *")) {
  const words = [...node.childNodes].some((n) => n.nodeType === 3 && n.data.trim()) || node.placeholder || node.tagName === "svg";
  if (!words || !node.checkVisibility() || node.closest(".unseen, .symbols, .skip, script")) continue;
  const style = getComputedStyle(node, node.placeholder ? "::placeholder" : null);
  const [a, b] = [light(parts(style.color)), light(ground(node))].sort((x, y) => y - x);
  rows.push([(a + 0.05) / (b + 0.05), node.tagName + "." + node.className + " " + node.textContent.slice(0, 30)]);
}
return rows.sort((x, y) => x[0] - y[0]);
"""


_STICKS_OUT = """
const out = (e) => e.getBoundingClientRect().right > innerWidth + 0.5 && !e.closest(".unseen, .symbols");
return [...document.querySelectorAll("body *")].filter(out).map((e) => e.outerHTML.slice(0, 80));
"""


@pytest.mark.parametrize("width", [360, 1440])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_and_nothing_sticks_out(browser: Chrome, width: int, scheme: str) -> None:
    engine = FakeEngine(words=["A", "word" * 60, " and ", "more"])
    size = {"width": width, "height": 740, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    wish = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", wish)
    try:
        with served(app_of(engine)) as address:
            page = Page(browser, f"{address}/").open()
            page.until(lambda: page.one("#model").text == "tiny")
            browser.execute_script("document.getElementById('model').textContent = 'a-long-name-of-a-run'.repeat(9)")
            welcome = browser.execute_script(_CONTRAST)
            page.bring("drop", "wide.png", "image/png", png(400, 20))
            page.until(lambda: page.all("#tray img"))
            page.write("what" * 60 + "\n")
            page.button("Copy")
            engine.full = True
            page.write("again\n")
            page.remark()
            page.bring("drop", "x.txt", "text/plain", b"x")
            page.until(lambda: page.one("#notice").text)
            talk = browser.execute_script(_CONTRAST)
            assert len(welcome) > 5 and len(talk) > 10
            assert min(*welcome, *talk)[0] >= 4.5, min(*welcome, *talk)
            wide = browser.execute_script(_STICKS_OUT)
            assert wide == []
            assert browser.execute_script("return document.documentElement.scrollWidth") <= width
            assert page.complaints() == []
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


_INLINE = """
const script = document.createElement("script");
script.textContent = "window.ran = true";
document.body.append(script);
return window.ran ?? false;
"""
_CALL = """
return new Promise((told) => {
  document.addEventListener("securitypolicyviolation", (event) => told(event.effectiveDirective));
  fetch("http://127.0.0.1:9/").then(() => told("let through"));
});
"""


def test_the_policy_lets_nothing_foreign_in(page: Page) -> None:
    """Inline script, and calls to another origin, are refused by the browser itself."""
    assert page.browser.execute_script(_INLINE) is False
    assert page.browser.execute_script(_CALL) == "connect-src"
    assert len(page.complaints()) >= 2  # which also takes them out of what the fixture looks at


def test_the_files_name_no_other_host() -> None:
    folder = Path(__file__).resolve().parents[2] / "src" / "sensorium" / "serving" / "web"
    for file in folder.iterdir():
        text = file.read_text(encoding="utf-8").replace("http://www.w3.org/", "")
        assert not re.search(r"https?://|//[a-z0-9.-]+\.[a-z]{2,}/", text), file.name
        assert not re.search(r"\sstyle=|\son[a-z]+=|<script>|<style|javascript:", text), file.name
