"""The pictures of a worker's page in docs: `python -m tests.console_pictures` (a real worker, model and junction).

A camera fails now and then, so that something is missing. Takes about a minute; the pictures are made small.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

from tests.chromium import Browser, chromium
from worker.broker.admin import NewTopic, create_topics
from worker.demo.pool import Pool
from worker.demo.run import PARTITIONS
from worker.demo.stack import open_stack
from worker.feeds.junction import STREAMS, junction_events
from worker.feeds.produce import feed
from worker.feeds.story import FeedEvent

DOCS = Path(__file__).parents[1] / "docs"
SECONDS, JUNCTIONS, BROKEN = 300.0, 6, "junction-4"
MOST_BYTES = 150_000
WATCHED_SECONDS = 45.0


def events() -> Iterator[FeedEvent]:
    """A story in which one camera sees nothing half of the time."""
    for one in junction_events(7, JUNCTIONS, SECONDS):
        if one.stream != "frames" or one.key != BROKEN or one.time_us // 3_000_000 % 2:
            yield one


def take(browser: Browser, url: str, path: Path, wide: int, high: int, scheme: str) -> None:
    """One picture, of 256 colours."""
    browser.go(url, wide, high, scheme)
    browser.until("document.querySelectorAll('.verdict:not(.void)').length === 12", 120)
    deadline = time.monotonic() + WATCHED_SECONDS
    missing = "document.querySelector('.verdict:nth-child(-n+3) .chips .pill')"
    browser.until("document.getElementById('window').textContent === 'last 10 s'", 60)
    while not browser.run(f"Boolean({missing})") and time.monotonic() < deadline:
        time.sleep(0.2)
    browser.press("p")
    time.sleep(1)  # What moves comes to rest.
    browser.picture(path)
    with Image.open(path) as image:
        small = image.convert("RGB").quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    small.save(path, optimize=True)
    assert path.stat().st_size < MOST_BYTES, path.stat().st_size
    print(path, path.stat().st_size, browser.complaints())


def main() -> None:
    """Runs all of it."""
    cache = Path(os.environ.get("FUSION_CACHE", ".cache"))
    with (
        TemporaryDirectory() as folder,
        open_stack(cache, print) as stack,
        Pool(Path(folder), stack.bootstrap_servers, stack.redis_url, "", evidence=True) as pool,
        chromium(Path(folder)) as browser,
    ):
        connection = {"bootstrap_servers": stack.bootstrap_servers.split(",")}
        create_topics(connection, [NewTopic(name, count, 1) for name, count in PARTITIONS.items()], 30.0)
        pool.start(1)
        given = {"seconds": SECONDS, "seed": 7, "speed": 1.0, "say": lambda line: None}
        streams = {name: name for name in STREAMS}
        threading.Thread(target=feed, args=(connection, streams, events()), kwargs=given, daemon=True).start()
        (url,) = pool.pages()
        take(browser, url, DOCS / "console-wide.png", 1280, 860, "light")
        take(browser, url, DOCS / "console-phone.png", 390, 1240, "dark")


if __name__ == "__main__":
    main()
