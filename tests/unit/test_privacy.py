"""What masks a record leaves nothing of it unmasked, and what it cannot mask it refuses without telling it."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from schemas import names
from tests.fakes.bodies import FakeBodyReader
from tests.fakes.source import FakeSource
from tests.property.test_lines import Silent
from tests.unit.incoming import NOW_US, TIME, validator
from worker.config import Settings
from worker.errors import Poison
from worker.model.pictures import decode_whole
from worker.pipeline.ring import Ring
from worker.privacy.masker import Masker
from worker.privacy.pictures import Box, PictureMask
from worker.privacy.texts import Kind, TextMask
from worker.records import Record, Reference, Rejected, Stage
from worker.stages.publish import ResultWriter
from worker.store.codec import decode_record, encode_kept, kept_record

MAIL = "anna@example.org"
STREAMS = {"texts": "text", "frames": "image", "sensors": "sensor", "sounds": "audio"}
CAMERA = "k"


def picture_mask(**more: Any) -> PictureMask:
    boxes = more.pop("boxes", {CAMERA: [Box(0.25, 0.25, 0.5, 0.5)], "free": []})
    decode = lambda body: decode_whole(body, "").permute(1, 2, 0).numpy()  # noqa: E731
    return PictureMask(decode, boxes, more.pop("faces", None), blur=more.pop("blur", False))


def masker(**more: Any) -> Masker:
    pictures = more.pop("pictures", picture_mask())
    return Masker(TextMask(list(Kind), ["Anna Schmidt"]), pictures, STREAMS, **more)


def record(value: bytes, *headers: tuple[str, bytes], topic: str = "texts-in", key: bytes = b"k") -> Record:
    return Record(topic, 0, 7, NOW_US // 1000, key, value, headers)


def noise(kind: str = "JPEG", **more: Any) -> bytes:
    out = io.BytesIO()
    pixels = np.random.default_rng(1).integers(0, 255, (80, 120, 3), np.uint8)
    Image.fromarray(pixels).save(out, kind, **more)
    return out.getvalue()


CE = (("ce_specversion", b"1.0"), ("ce_id", b"i"), ("ce_source", b"/s"), ("ce_type", b"t"), ("ce_time", TIME))


def test_a_text_its_headers_and_its_trace_are_masked() -> None:
    """The key, id and source stay; a trace that is none does not go on to the result."""
    more = (
        ("ce_subject", MAIL.encode()),
        ("raw", b"\xff" + MAIL.encode()),
        (MAIL, b"x"),
        ("traceparent", MAIL.encode()),
    )
    event = validator(mask=masker()).read(record(f"write {MAIL}".encode(), *CE, *more))
    assert (event.payload, event.record.value) == (b"write [email]", b"write [email]")
    assert event.record.headers[5:] == (("ce_subject", b"[email]"), ("raw", b""), ("traceparent", b"[email]"))
    assert (event.traceparent, event.id, event.source) == (None, "i", "/s")
    assert event.record.masked is not None
    assert event.record.masked.came_bytes == len(f"write {MAIL}")


def test_a_field_that_is_there_twice_is_written_once() -> None:
    """A reader of JSON sees one of the two; the bytes held both."""
    body = b'{"text": "%s", "text": "plain", "card": 4111111111111111}' % MAIL.encode()
    event = validator(mask=masker()).read(record(body, *CE, ("content-type", b"application/json")))
    assert event.record.value == b'{"text":"plain","card":"[card]"}'


@pytest.mark.parametrize("coded", [True, False])
def test_a_structured_event_is_masked_inside(coded: bool) -> None:
    """Data, coded or not, and every attribute but id and source."""
    data = {"data_base64": base64.b64encode(MAIL.encode()).decode()} if coded else {"data": MAIL}
    told = {
        "specversion": "1.0",
        "id": "i",
        "source": "/s",
        "type": MAIL,
        "subject": [MAIL],
        "datacontenttype": "text/plain",
    }
    made = record(json.dumps({**told, **data}).encode(), ("content-type", names.STRUCTURED.encode()))
    event = validator(mask=masker()).read(made)
    assert event.payload == b"[email]"
    assert MAIL.encode() not in (event.record.value or b"")
    assert base64.b64encode(MAIL.encode())[:12] not in (event.record.value or b"")
    assert validator(mask=masker()).reread(event.record) == event


def test_words_of_a_reading_are_masked_and_its_numbers_are_not() -> None:
    """A series may look like a card's number by chance."""
    body = {"who": ["Anna Schmidt", MAIL], "speed": 4111111111111111}
    event = validator(mask=masker()).read(record(json.dumps(body).encode(), *CE, topic="sensors-in"))
    assert json.loads(event.payload) == {"who": ["[name]", "[email]"], "speed": 4111111111111111}


@pytest.mark.parametrize(("kind", "more"), [("JPEG", {"quality": 95, "comment": MAIL.encode()}), ("PNG", {})])
@pytest.mark.parametrize("blur", [True, False])
def test_a_box_is_hidden_and_nothing_of_the_file_is_kept(kind: str, more: dict[str, Any], blur: bool) -> None:
    """The box has few colours, the rest is as it was, and comments and what stood behind the end are gone."""
    came = noise(kind, **more) + MAIL.encode()
    mask = masker(pictures=picture_mask(blur=blur))
    event = validator(mask=mask).read(record(came, topic="frames-in"))
    assert MAIL.encode() not in event.payload
    before, after = (
        np.asarray(Image.open(io.BytesIO(one)).convert("RGB")).astype(int) for one in (came, event.payload)
    )
    assert before.shape == after.shape
    # Whole blocks of the code lie in there.
    inside, outside = after[32:48, 32:80], np.abs(before - after)[:16].mean()
    assert inside.std() < (25 if blur else 2)
    assert before[24:56, 36:84].std() > 45
    assert outside < (0.1 if kind == "PNG" else 25)


def throws(pixels: Any) -> Any:
    raise RuntimeError(MAIL)


REFUSED: list[tuple[str, bytes, bytes, Callable[[], Masker]]] = [
    ("a camera of which nobody said anything", b"other", noise(), masker),
    ("a picture that is cut off", b"k", noise()[:900] + MAIL.encode(), masker),
    ("a detector that throws", b"k", noise(), lambda: masker(pictures=picture_mask(faces=throws))),
    ("no rule for pictures", b"k", noise(), lambda: masker(pictures=None)),
]


@pytest.mark.parametrize(("name", "key", "body", "made"), REFUSED, ids=[one[0] for one in REFUSED])
def test_what_cannot_be_masked_is_refused_without_its_body(
    name: str, key: bytes, body: bytes, made: Callable[[], Masker]
) -> None:
    """Stage VALIDATE, and the dead letter says that the body is left out, and how large it was."""
    reads, came = validator(mask=made()), record(body, ("note", MAIL.encode()), topic="frames-in", key=key)
    with pytest.raises(Poison) as caught:
        reads.read(came)
    assert caught.value.reason == "cannot_mask"
    assert MAIL not in str(caught.value)
    writer = ResultWriter("out", "dead", source="/w", model_name="m", model_version="1")
    letter = writer.dead_letter(Rejected(reads.bare(came), Stage.VALIDATE, caught.value.reason, str(caught.value)))
    told = dict(letter.headers)
    assert (letter.value, told[names.PRIVACY], told["note"]) == (b"", b"left out", b"[email]")
    assert told[names.VALUE_OMITTED] == str(len(body)).encode()


def test_a_sound_is_refused_unless_it_is_left_as_it_is() -> None:
    """Nothing masks sounds."""
    from tests.unit.incoming import wav

    with pytest.raises(Poison, match="the audio cannot be masked"):
        validator(mask=masker()).read(record(wav(), topic="sounds-in"))
    came = record(wav(), topic="sounds-in")
    event = validator(mask=masker(unmasked=["sounds"])).read(came)
    assert event.record is came


@pytest.mark.parametrize("bad", [b"\xff" + MAIL.encode(), b""])
def test_a_message_tells_nothing_of_the_record(bad: bytes) -> None:
    """Not what a header holds, nor how it was cut."""
    reads = validator(mask=masker())
    for headers in (
        (*CE[:4], ("ce_time", MAIL.encode())),
        (*CE, ("content-type", MAIL.encode())),
        (("ce_type", MAIL.encode()),),
    ):
        with pytest.raises(Poison) as caught:
            reads.read(record(bad or b"x", *headers))
        assert "anna" not in str(caught.value)
        assert caught.value.__cause__ is None


def test_the_model_may_see_what_came_and_redis_does_not() -> None:
    """With before_model = false the event's body is the one that came; Redis gets its place, however small it is."""
    came = record(f"write {MAIL}".encode(), *CE)
    event = validator(mask=masker(before_model=False)).read(came)
    assert (event.payload, event.record.value) == (came.value, b"write [email]")
    assert kept_record(encode_kept(event.record, 1024)) == Reference.to(came)
    assert validator(mask=masker(before_model=False)).reread(event.record).payload == came.value
    assert event.size >= 2 * len(came.value or b"")
    seen = validator(mask=masker()).read(came)
    back = decode_record(encode_kept(seen.record, 1024))
    assert (back, back.masked is not None) == (seen.record, True)
    assert validator(mask=masker()).reread(back) == seen


def test_a_body_that_is_fetched_again_is_masked_again() -> None:
    """As it was at first, and found by the size that it has in Kafka; one that cannot be masked is a Poison."""
    reads, source = validator(mask=masker()), FakeSource({})
    bodies = FakeBodyReader(source)
    came = record(f"write {MAIL} ".encode() * 200, *CE)
    place = Reference.to(reads.read(came).record)
    assert place.size == len(came.value or b"")
    ring = Ring(2**20, bodies, Silent(), 1024, reads.masked)
    cut = replace(record(noise()[:900], topic="frames-in"), offset=8)
    source.logs = {place.partition: [came] * 8, cut.lies_on: [cut] * 9}
    ring.want([place, Reference.to(cut)])
    (_, found), (_, refused) = ring.arrived()
    assert isinstance(found, Record)
    assert found.value == b"write [email] " * 200
    assert isinstance(refused, Poison)
    assert ring.find(place) is found


def test_what_was_kept_from_before_is_masked_when_it_is_found() -> None:
    """Redis may hold small records of before [privacy] was on."""
    from worker.records import Candidate

    kept = decode_record(encode_kept(record(MAIL.encode(), *CE), 1024))
    event = validator(mask=masker()).found("texts", "k", Candidate(1, "i"), kept)
    assert (event.payload, event.fault) == (b"[email]", None)
    picture = decode_record(encode_kept(record(noise()[:900], topic="frames-in"), 1024))
    event = validator(mask=masker()).found("frames", "k", Candidate(1, "i"), picture)
    assert event.fault is not None
    assert event.record.value == b""


def test_what_a_decoder_says_of_the_body_is_not_repeated_where_it_saw_it() -> None:
    """With before_model = false messages of later stages come from what is not masked."""
    writer = ResultWriter("out", "dead", source="/w", model_name="m", model_version="1", tells=False)
    letter = writer.dead_letter(Rejected(record(b"x"), Stage.DECODE, "undecodable", MAIL))
    assert MAIL.encode() not in b"".join(value or b"" for _, value in letter.headers)


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"enabled": True}, "stream 'frames' is not masked: pictures need faces = true or boxes"),
        ({"names": "x"}, "names has no effect without enabled = true"),
        *(({"enabled": True, "boxes": [box]}, r"boxes: one is \[.*; it is") for box in
          ([], [0.5], ["k", 0, 0, 1], ["k", 0, 0, 1, "1"])),
        *(({"enabled": True, "boxes": [["k", *box]]}, "x and y must be from 0 to below 1, width and height above 0")
          for box in ((1, 0, 1e-12, 1), (0, 1, 1, 1), (0, 0, 2, 1), (0, 0, 0, 1), (0, 0, 1, 0), (-0.1, 0, 1, 1),
                      (0.5, 0, 0.6, 1), (0, 0.5, 1, 0.6), (0, 0, float("nan"), 1), (0, 0, 1, float("inf")))),
        ({"enabled": True, "boxes": [["k", 0, 0, 1, 1], ["k"]]}, "'k' stands alone, as one with nothing to hide, and"),
        ({"enabled": True, "boxes": [["k"]], "unmasked": ["sounds"]}, "no stream 'sounds'"),
    ],
)  # fmt: skip
def test_a_section_that_would_mask_nothing_is_refused(section: dict[str, Any], said: str) -> None:
    """The message names the key and what it may be."""
    with pytest.raises(ValueError, match=said):
        Settings.model_validate({"privacy": section})


def test_evidence_of_what_is_not_masked_is_refused() -> None:
    """It quotes the words that the model saw."""
    section = {"enabled": True, "boxes": [["k"]], "before_model": False}
    with pytest.raises(ValueError, match="evidence tells what the model saw"):
        Settings.model_validate({"privacy": section, "output": {"evidence": True}})
