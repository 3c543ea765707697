"""worker/console/page.html as it stands: nothing from outside, no text that becomes markup, colours to read by."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

from tests.shown import played
from worker.console.page import PATH

PAGE = PATH.read_text("utf-8")


class Parts(HTMLParser):
    """Tags with their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Kept."""
        self.found.append((tag, dict(attrs)))


def parts() -> list[tuple[str, dict[str, str | None]]]:
    """Of the page."""
    parser = Parts()
    parser.feed(PAGE)
    return parser.found


def test_the_browser_may_run_this_script_and_no_other() -> None:
    """The hashes of the policy are those of what is sent; nothing else may be loaded, framed or sent."""
    with played() as made:
        _, headers, body = made.ask("/")
    policy = dict(one.strip().split(" ", 1) for one in headers["Content-Security-Policy"].split(";"))
    for tag in ("script", "style"):
        (inside,) = re.findall(rf"<{tag}>(.*?)</{tag}>", body.decode(), re.DOTALL)
        assert policy[f"{tag}-src"] == f"'sha256-{base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()}'"
    rest = {"default-src", "base-uri", "form-action", "frame-ancestors"}
    assert {name: policy[name] for name in rest} == dict.fromkeys(rest, "'none'")
    assert (policy["img-src"], policy["connect-src"]) == ("data:", "'self'")
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_the_page_needs_nothing_from_outside() -> None:
    """No address but its own, no handler or style in a tag, and nothing makes markup of a text."""
    assert set(re.findall(r"[a-z]+://[^\s\"'`)]*", PAGE)) == {"http://www.w3.org/2000/svg"}
    assert [
        tag for tag, attributes in parts() if any(name.startswith("on") or name == "style" for name in attributes)
    ] == []
    assert [a for tag, a in parts() if tag in ("script", "link", "img", "iframe") and set(a) & {"src", "srcset"}] == []
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|setAttribute\(.style", PAGE
    )


def test_what_the_script_asks_for_is_on_the_page() -> None:
    """Each id is there once, and whatever names another is led to it."""
    ids = [a["id"] for _, a in parts() if "id" in a]
    assert len(ids) == len(set(ids))
    assert set(re.findall(r"\bby\(\"([\w-]+)\"\)", PAGE)) <= set(ids)
    led = {str(a[name]) for _, a in parts() for name in ("for", "aria-labelledby") if name in a}
    assert led <= set(ids)
    defined = set(re.findall(r"(--[a-z-]+):", PAGE))
    assert set(re.findall(r"var\((--[a-z-]+)\)", PAGE)) <= defined


def test_dark_and_light_name_the_same_colours_and_can_be_read() -> None:
    """Text stands out from what is behind it by at least 4.5 to 1 (WCAG AA)."""
    light, dark = (
        dict(re.findall(r"(--[a-z-]+): (#[0-9a-f]+)", block))
        for block in re.findall(r":root \{(.*?)\}", PAGE, re.DOTALL)
    )
    assert set(light) == set(dark)
    for colours in (light, dark):
        for ink, behind in (
            ("ink", "page"), ("ink", "card"), ("ink", "fill"), ("soft", "page"), ("soft", "card"), ("soft", "fill"),
            ("good", "good-fill"), ("warn", "warn-fill"), ("bad", "bad-fill"), ("bad", "page"), ("good", "page"),
            ("warn", "card"), ("bad", "card"), ("card", "accent"),
        ):  # fmt: skip
            assert contrast(colours[f"--{ink}"], colours[f"--{behind}"]) >= 4.5, (ink, behind)


def contrast(one: str, other: str) -> float:
    """As WCAG 2 reckons it."""
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    """Relative, from `#rgb` or `#rrggbb`."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * one for one in colour[1:])
    parts = (int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4))
    red, green, blue = (one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
