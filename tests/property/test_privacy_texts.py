"""Property: what is planted in a text is not in the masked one, whatever stands around it; and nothing else changes."""

from __future__ import annotations

import json
import re
import string

from hypothesis import given, settings
from hypothesis import strategies as st

from worker.privacy.numbers import passes_luhn
from worker.privacy.texts import Kind, TextMask

NAMES = ["Anna Schmidt", "Müller", "王小明", "O'Brien"]
MASK = TextMask(list(Kind), NAMES)
TOKENS = {f"[{kind}]" for kind in Kind}
# Of these characters no rule makes anything.
PLAIN = st.text("bcdfghjk lmnpqr stvwxyz,;!?\n", max_size=40)
DIGITS = st.text(string.digits, min_size=1, max_size=1)


def luhn(body: str) -> str:
    """The number with its check digit."""
    return next(body + str(one) for one in range(10) if passes_luhn(body + str(one)))


@st.composite
def cards(draw: st.DrawFn) -> str:
    """12 to 18 digits and their check digit, in groups of four, whole, or with odd marks between."""
    number = luhn(draw(st.text(string.digits, min_size=12, max_size=18)))
    mark = draw(st.sampled_from(["", " ", "-", "\u00a0", ".", " - ", "\n"]))
    return mark.join(re.findall(".{1,4}", number))


@st.composite
def phones(draw: st.DrawFn) -> str:
    """International, with a trunk zero, and North American ones."""
    rest = draw(st.text(string.digits, min_size=8, max_size=12))
    mark = draw(st.sampled_from(["", " ", "-", "/", ".", " / "]))
    american = f"({rest[0].translate({48: '2', 49: '3'})}{rest[1:3]}) {rest[3:6]}-{rest[4:8]}"
    begin = draw(st.sampled_from(["+49 ", "+1-", "0", "00"]))
    return draw(st.sampled_from([begin + mark.join(re.findall(".{2,4}|.", rest)), american]))


ADDRESS = st.text(string.ascii_letters + string.digits + "._%+-'äß", min_size=1, max_size=20)
DOMAIN = st.lists(st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=8), min_size=1, max_size=3)
EMAILS = st.builds(lambda local, domain: f"{local}@{'.'.join(domain)}", ADDRESS, DOMAIN)
PLATES = st.sampled_from(
    ["B-AB 1234", "M XY 123E", "AB-123-CD", "AB12 CDE", "1234 BCD", "ABC-1234", "京A·12345", "b-ab 12"]
)
LISTED = st.sampled_from(
    ["Anna Schmidt", "ANNA\nschmidt", "anna-schmidt", "müller", "MU\u0308LLER", "o'brien", "王小明"]
)
PLANTED = st.one_of(cards(), phones(), EMAILS, PLATES, LISTED)


@given(st.lists(st.tuples(PLAIN, PLANTED), max_size=5), PLAIN)
def test_what_is_planted_is_gone(parts: list[tuple[str, str]], last: str) -> None:
    """Between words each find becomes a token, and of its letters and digits nothing is left beside it."""
    text = "".join(f"{before} | {planted} | " for before, planted in parts) + last
    masked = MASK.text(text)
    pieces = masked.split(" | ")
    assert len(pieces) == 2 * len(parts) + 1
    for planted, piece in zip((one for _, one in parts), pieces[1::2], strict=True):
        left = re.sub(r"\[(?:email|card|phone|plate|name)\]", "", piece)
        assert not any(one.isalnum() for one in left), (planted, piece)
    assert pieces[0::2] == [*(before for before, _ in parts), last]


@given(st.text(max_size=200))
def test_a_text_is_masked_once(text: str) -> None:
    """What is masked already stays as it is, and only tokens are new."""
    masked = MASK.text(text)
    assert MASK.text(masked) == masked
    kept = re.split("|".join(map(re.escape, TOKENS)), masked)
    at = 0
    for piece in kept:
        at = text.index(piece, at) + len(piece)


@given(st.text(string.digits + " -./+()", max_size=80))
@settings(max_examples=150)
def test_digits_are_masked_once_and_no_card_is_left(text: str) -> None:
    """Of any run of digits and marks no group, or neighbours, of 13 to 19 digits that pass the check are left."""
    masked = MASK.text(text)
    assert MASK.text(masked) == masked
    for run in re.findall(r"\d{13,19}", masked):
        assert len(run) > 19 or not passes_luhn(run)


@given(PLANTED, st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(PLAIN, inner)))
def test_json_is_masked_wherever_it_is(planted: str, other: object) -> None:
    """As a value, in a list, and as the name of a field."""
    body = {"text": f"x | {planted} | y", "more": [other, {f"| {planted} |": planted}]}
    told = json.dumps(MASK.json(body), ensure_ascii=False)
    assert planted not in told
    assert json.dumps(planted, ensure_ascii=False)[1:-1] not in told


def test_a_second_name_of_an_address_is_found_whatever_is_unseen_in_it() -> None:
    """Marks of no width hide nothing, and digits of other scripts are digits."""
    assert MASK.text("an\u200bna@ex\u00adample.org") == "[email]"
    assert MASK.text("4111\u200b1111\u200b1111\u200b1111") == "[card]"
    assert MASK.text("٤١١١ ١١١١ ١١١١ ١١١١") == "[card]"
    assert MASK.text("anna＠example.org") == "[email]"


def test_what_is_no_personal_datum_stays() -> None:
    """Dates, times, fractions, short numbers, and a number whose check digit is wrong."""
    for text in (
        "2026-01-02 10:00:00", "02.01.2026", "1/2/2026", "0.25 and 45.6 km/h", "12 cars at 14:30",
        "queue 300 m, wait 12 s, lane 2", "2026-01-01T00:00:03.250Z", "at km 12", "annas", "4111 1111 1111 1112",
    ):  # fmt: skip
        assert MASK.text(text) == text
