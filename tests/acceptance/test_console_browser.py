"""A worker's page in headless Chromium, over the real HTTP server: what a person sees, and does with the keyboard."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chromium import Browser, chromium
from tests.shown import Played, dead_letter, played, verdict
from worker.console.live import MOST_WATCHERS

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

TOKEN = "t0ken"
NASTY = "<img src=x onerror='window.hit=1'><script>window.hit=1</script> & \"quoted\" ' \u202e \u2028"
LONG = "W" * 900
EXPLAINS = [sys.executable, "-u", "-c", "import sys; print('<b>explained</b>', sys.argv[-1])"]
READY = "document.getElementById('status').textContent === 'ready'"
LABELS = "[...document.querySelectorAll('.verdict:not(.void) .label')].map(one => one.textContent)"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One for all tests; each opens its own page."""
    with chromium(tmp_path_factory.mktemp("chromium")) as made:
        yield made


@pytest.fixture
def made(browser: Browser) -> Iterator[Played]:
    """A worker that is played."""
    browser.heard.clear()
    with played(EXPLAINS) as one:
        yield one
    browser.ask("Page.navigate", url="about:blank")


def look(browser: Browser, made: Played, wide: int = 1280, **more: Any) -> None:
    """Opens the page and waits for what the worker tells."""
    browser.go(f"{made.url}/", wide, 800, **more)
    browser.until(READY)


def told(made: Played, count: int = 5) -> None:
    """Metrics and verdicts, among them a dead letter."""
    made.observer.count("events_total", 2 * count, stream="texts", outcome="accepted")
    made.observer.count("events_total", 9 * count, stream="frames", outcome="accepted")
    made.says(*(verdict(n) for n in range(count)), dead_letter(99))


def test_who_has_nothing_yet_is_told_what_to_do(browser: Browser, made: Played) -> None:
    """Commands that can be typed; the first verdict takes their place."""
    look(browser, made)
    text = browser.run("document.querySelector('main').innerText")
    assert "What to do first" in text
    assert "fusion-worker topics --config FILE" in text
    told(made)
    browser.until(f"{LABELS}.length === 6")
    assert browser.run("document.getElementById('empty').checkVisibility()") is False
    assert browser.complaints() == []


def test_figures_streams_and_verdicts_are_shown(browser: Browser, made: Played) -> None:
    """The newest first, with its picture, text, score and words; a dead letter by its reason."""
    look(browser, made)
    told(made)
    browser.until(f"{LABELS}.length === 6")
    assert browser.run(LABELS)[0] == "dead letter"
    cards = browser.run("[...document.querySelectorAll('.verdict:not(.void)')].map(one => one.innerText)")
    assert "DECODE undecodable" in cards[0]
    assert "What cannot be ruled out" in cards[1]
    assert "frames: out of tolerance" in cards[2]
    assert browser.run("document.querySelectorAll('.verdict:not(.void) img:not([hidden])').length") == 4
    assert browser.run(
        "[...document.querySelectorAll('.verdict:not(.void) img:not([hidden])')].every(one => one.naturalWidth > 50)"
    )
    rows = browser.run("[...document.querySelectorAll('tbody tr')].map(one => one.innerText)")
    assert [row.split()[0] for row in rows] == ["texts", "frames"]
    browser.until("[...document.querySelectorAll('.tile dd')].every(one => one.textContent !== '–')")
    assert browser.complaints() == []


def test_what_events_hold_is_never_markup(browser: Browser, made: Played) -> None:
    """Neither in a card, nor in the details, nor in what explain says."""
    look(browser, made)
    made.says(verdict(0, NASTY, key=NASTY))
    browser.until(f"{LABELS}.length === 1")
    card = browser.run("document.querySelector('.verdict').innerText")
    assert "<script>window.hit=1</script>" in card
    browser.run("document.querySelector('.more').click()")
    assert NASTY.partition("\u202e")[0].strip() in browser.run("document.getElementById('detail').innerText")
    browser.run("[...document.querySelectorAll('#detail button')].at(-1).click()")
    browser.until("document.getElementById('said').textContent.includes('<b>explained</b> texts-in/0/0')")
    assert browser.run("[window.hit, document.querySelectorAll('main script, main b, dialog script').length]") == [
        None,
        0,
    ]
    assert browser.complaints() == []


@pytest.mark.parametrize("wide", [320, 360, 768, 1280, 1920])
def test_nothing_is_wider_than_the_window(browser: Browser, made: Played, wide: int) -> None:
    """However long a key, a text, a name of a source or a reason is; on a phone too, with the details open."""
    made.health.block("kafka", LONG)
    made.says(verdict(0, LONG, key=LONG), verdict(1, LONG), dead_letter(2))
    made.observer.gauge("source_offset_seconds", -9876.5, stream="frames", source=LONG)
    made.observer.count("results_total", 123_456_789, label="congestion", complete="true")
    browser.go(f"{made.url}/", wide, 800)
    browser.until(f"{LABELS}.length === 3")
    assert browser.run("document.documentElement.scrollWidth - innerWidth") <= 0
    browser.run("[...document.querySelectorAll('.more')][2].click()")
    assert browser.run("(d => d.scrollWidth - d.clientWidth)(document.getElementById('detail'))") <= 0
    assert browser.run("document.getElementById('detail').getBoundingClientRect().right") <= wide


def test_it_is_light_or_dark_as_the_system_is(browser: Browser, made: Played) -> None:
    """Without a switch of its own."""
    found = []
    for scheme in ("light", "dark"):
        look(browser, made, scheme=scheme)
        found.append(browser.run("getComputedStyle(document.body).backgroundColor"))
    assert found == ["rgb(244, 246, 248)", "rgb(14, 17, 22)"]


@pytest.mark.parametrize("wide", [360, 1280])
def test_nothing_moves_while_numbers_change(browser: Browser, made: Played, wide: int) -> None:
    """No element changes its place (cumulative layout shift) while figures, troubles, readiness and verdicts do."""
    look(browser, made, wide)
    told(made)
    browser.until(f"{LABELS}.length === 6")
    browser.run("scrollTo(0, 300)")
    browser.run(
        "window.shift = 0; new PerformanceObserver(list => list.getEntries().forEach(one => window.shift += one.value))"
        ".observe({type: 'layout-shift'})"
    )
    for turn in range(5):
        told(made, 3 + turn)
        made.observer.count("events_total", 3, stream="frames", outcome="rejected")
        made.observer.count("late_events_total", 7**turn, stream="frames")
        made.observer.gauge("consumer_lag_records", 10.0**turn, topic="texts-in", partition="0")
        made.observer.gauge("source_offset_seconds", -(3.0**turn), stream="frames", source="a camera")
        made.health.block("redis", "no answer " * 40) if turn % 2 else made.health.clear("redis")
        wanted = "not ready" if turn % 2 else "ready"
        browser.until(f"document.getElementById('status').textContent === '{wanted}'")
    assert browser.run("window.shift") < 0.001


def test_everything_is_reached_by_the_keyboard(browser: Browser, made: Played) -> None:
    """Search, pause, the details of a verdict and back; what has the focus shows it."""
    told(made)
    look(browser, made)
    browser.until(f"{LABELS}.length === 6")
    browser.press("/")
    assert browser.run("document.activeElement.id") == "wanted"
    for key in "junction-1":
        browser.press(key)
    assert browser.run("document.activeElement.value") == "junction-1"
    browser.press("Enter", number=13)
    browser.until("document.getElementById('said').textContent.includes('explained</b> texts-in/0/0')")
    browser.press("Escape", number=27)
    browser.until("!document.getElementById('detail').open")
    seen = []
    for _ in range(12):
        browser.press("Tab", number=9)
        seen.append(browser.run("document.activeElement.textContent.trim() || document.activeElement.id"))
        outline = browser.run("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid", seen
        if seen[-1] == "Details":
            break
    assert seen[-2:] == ["Pause", "Details"]
    browser.press("Enter", number=13)
    browser.until("document.getElementById('detail').open")
    browser.press("Escape", number=27)
    browser.until("!document.getElementById('detail').open")
    assert browser.run("document.activeElement.textContent") == "Details"


def test_what_is_paused_stays(browser: Browser, made: Played) -> None:
    """New verdicts come when it goes on; the figures go on meanwhile."""
    told(made)
    look(browser, made)
    browser.until(f"{LABELS}.length === 6")
    browser.press("p")
    before, results = browser.run(LABELS), browser.run("document.querySelector('.tile p').textContent")
    assert browser.run("document.getElementById('pause').getAttribute('aria-pressed')") == "true"
    made.says(*(verdict(n) for n in range(40, 52)))
    browser.until(f"document.querySelector('.tile p').textContent !== '{results}'")
    assert browser.run(LABELS) == before
    browser.press("p")
    browser.until(f"{LABELS}.length === 12")


def put_in_front(browser: Browser, is_in_front: bool) -> None:
    """The page's tab, or another one."""
    value = str(not is_in_front).lower()
    browser.run(f"Object.defineProperty(document, 'hidden', {{value: {value}, configurable: true}})")
    browser.run("document.dispatchEvent(new Event('visibilitychange'))")


def watched_by(made: Played, watchers: int) -> bool:
    """Whether it comes to so many."""
    wait = threading.Event()
    return any(made.pages._live._watchers == watchers or wait.wait(0.1) for _ in range(100))


def test_a_page_that_nobody_sees_costs_nothing(browser: Browser, made: Played) -> None:
    """In a tab that is not in front it does not look; back in front it does."""
    look(browser, made)
    put_in_front(browser, False)
    assert watched_by(made, 0)
    put_in_front(browser, True)
    assert watched_by(made, 1)
    browser.until(READY)


def test_a_page_looks_once_however_it_came_back(browser: Browser, made: Played) -> None:
    """Refused for want of a place it tries again later; brought to the front before that, it holds one place alone."""
    look(browser, made)
    browser.run("window.setTimeout = later => { window.later = later; }")
    put_in_front(browser, False)
    assert watched_by(made, 0)
    with contextlib.ExitStack() as others:
        for _ in range(MOST_WATCHERS):
            next(others.enter_context(made.watching()))
        put_in_front(browser, True)
        browser.until("window.later !== undefined")
    assert watched_by(made, 0)
    put_in_front(browser, False)
    put_in_front(browser, True)
    assert watched_by(made, 1)
    browser.run("window.later()")
    browser.until(READY)
    put_in_front(browser, False)
    assert watched_by(made, 0)


def test_a_worker_that_comes_back_is_found_again(browser: Browser, made: Played) -> None:
    """The page says that it has no connection, and goes on by itself with what the new worker tells."""
    told(made)
    look(browser, made)
    browser.until(f"{LABELS}.length === 6")
    port = made.server.port
    made.server.stop()
    browser.until("document.getElementById('status').textContent === 'no connection'")
    with played(port=port) as other:
        assert other.server.port == port
        other.says(*(verdict(n, "of another life") for n in range(60, 64)))
        browser.until(READY)
        browser.until("document.querySelector('.text').textContent === 'of another life'")
        assert browser.run(f"{LABELS}.length") == 4


def test_a_browser_that_knows_the_token_sees_all(browser: Browser, tmp_path: Path) -> None:
    """The page, what it is told and the search, by HTTP Basic; without it nothing."""
    (tmp_path / "token").write_text(TOKEN)
    with played(EXPLAINS, token_file=str(tmp_path / "token")) as made:
        browser.go(f"{made.url}/", 800, 600)
        assert "is needed" in browser.run("document.body.innerText")
        browser.go(f"{made.url}/", 800, 600, token=TOKEN)
        browser.until(READY)
        browser.run("document.getElementById('wanted').value = 'k'; document.querySelector('form button').click()")
        browser.until("document.getElementById('said').textContent.includes('--find=k')")
    browser.ask("Network.setExtraHTTPHeaders", headers={})
