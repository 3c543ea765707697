"""Record -> Event, or Poison of stage VALIDATE: everything that CONTRACT section 1 asks of an event."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NoReturn

from schemas.names import JPEG, JSON, MEDIA_TYPES
from worker.errors import Poison, blamed
from worker.image import ImageError, png_size, read_jpeg
from worker.ports import Clock, Mask
from worker.readings import fields_of
from worker.records import Candidate, Event, Record, Stage
from worker.stages.cloudevents import Envelope, open_envelope
from worker.stages.wire import Reason, parse_json, refuse, shown, to_utf8
from worker.wav import WavError, read_wav

__all__ = ["Reason", "StreamSpec", "Validator"]

# Room for the attributes of a structured event. With less, an event of the largest legal payload could be refused;
# with much more, a far too large one would be parsed before it is refused.
_ENVELOPE_BYTES = 64 * 2**10
# JSON may spell one byte as `\u0000`.
_JSON_GROWTH = 6
# 10000-01-01T00:00:00Z: no result could write a later time as RFC 3339.
_END_OF_TIME_US = 253_402_300_800_000_000
# Of the steps of a series; the body's size bounds them too, but a model looks at a few dozen and each costs memory.
_MOST_STEPS = 4096
# The model's numbers have 32 bits; a larger one would be infinite there.
_LARGEST_NUMBER = 3.4028234663852886e38
# W3C Trace Context: what else stands in its place could be anything, and a result carries it on.
_TRACE = re.compile("[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


@dataclass(frozen=True, slots=True)
class StreamSpec:
    """What a topic's events must be.

    Attributes:
        name: the stream's name.
        modality: `image`, `text`, `sensor` or `audio`.
    """

    name: str
    modality: str


class Validator:
    """Reads records of all input topics. Holds no state between records; safe to call from several threads."""

    def __init__(
        self,
        streams: Mapping[str, StreamSpec],
        clock: Clock,
        *,
        max_frame_bytes: int,
        max_frame_pixels: int,
        max_text_bytes: int,
        max_sensor_bytes: int,
        max_audio_bytes: int,
        max_audio_seconds: float,
        max_ahead_us: int,
        mask: Mask | None = None,
    ) -> None:
        """`streams` is by topic; sizes in bytes and pixels, `max_ahead_us` in microseconds. With a `mask` every Event,
        and every message of a Poison, is masked."""
        self._mask = mask
        self._streams, self._clock = dict(streams), clock
        self._named = {spec.name: (topic, spec) for topic, spec in self._streams.items()}
        self._limits = {
            "image": ("frame", max_frame_bytes, "max_frame_bytes"),
            "text": ("text", max_text_bytes, "max_text_bytes"),
            "sensor": ("reading", max_sensor_bytes, "max_sensor_bytes"),
            "audio": ("sound", max_audio_bytes, "max_audio_bytes"),
        }
        self._max_pixels, self._max_seconds, self._max_ahead_us = max_frame_pixels, max_audio_seconds, max_ahead_us
        self._checks: dict[str, Callable[[Envelope], None]] = {
            "image": self._check_image, "text": _check_text, "sensor": _check_sensor, "audio": self._check_audio,
        }  # fmt: skip

    def read(self, record: Record) -> Event:
        """The event in a record, checked whole; an image or a sound by its header alone, before anything is decoded.

        Raises:
            Poison: stage VALIDATE, `reason` a Reason; the message says what was given, the limit and the remedy.
        """
        try:
            return self._read(record)
        except BaseException as error:  # noqa: BLE001  the boundary of one record
            self._refuse(error, record)

    def _refuse(self, error: BaseException, record: Record) -> NoReturn:
        if not self._covers(record):
            raise blamed(error, Stage.VALIDATE, Reason.UNEXPECTED) from error
        poison = error if isinstance(error, Poison) else blamed(error, Stage.VALIDATE, Reason.UNEXPECTED)
        assert self._mask is not None
        raise self._mask.veiled(poison) from None

    def _covers(self, record: Record, stream: str | None = None) -> bool:
        spec = self._streams.get(record.topic)
        name = stream or (spec.name if spec else "")
        return self._mask is not None and self._mask.covers(name)

    def bare(self, record: Record) -> Record:
        """What the dead letter of a record that cannot be read may hold of it."""
        if self._mask is None or not self._covers(record):
            return record
        return self._mask.bare(self._streams[record.topic].name, record)

    def masked(self, record: Record) -> Record | Poison:
        """A record of Kafka's that `read` has passed before, as its event holds it."""
        try:
            return self.reread(record).record if self._covers(record) else record
        except Poison as poison:
            return poison

    def _event(self, spec: StreamSpec, key: str, envelope: Envelope, record: Record) -> Event:
        """Masked, unless it is already; the model sees the body as it came where that is kept."""
        payload = envelope.payload
        if self._mask is not None and self._mask.covers(spec.name) and record.masked is None:
            record, masked = self._mask.masked(spec.name, key, envelope.content_type, payload, record)
            payload = masked if record.masked is None or record.masked.raw is None else payload
        event_id, source, time_us, content_type, _, trace = envelope
        traceparent = trace if record.masked is None or _TRACE.fullmatch(trace or "") else None
        return Event(spec.name, key, event_id, source, time_us, content_type, payload, record, traceparent)

    def _read(self, record: Record) -> Event:
        spec, key = self._spec(record), _key(record)
        self._check_size(spec, len(record.value or b""), _JSON_GROWTH, _ENVELOPE_BYTES)
        envelope = open_envelope(record, spec.modality)
        self._check_type(spec, envelope)
        self._check_size(spec, len(envelope.payload))
        self._check_time(envelope.time_us)
        self._checks[spec.modality](envelope)
        return self._event(spec, key, envelope, record)

    def reread(self, record: Record, stream: str | None = None) -> Event:
        """The event in a record that `read` has passed before: the same Event, without the clock and the limits.

        `stream` is the one that it was read for; its topic may have had another name then.

        Raises:
            Poison: stage VALIDATE; the record is not what it was.
        """
        try:
            spec = self._spec(record) if stream is None else self._named[stream][1]
            came = record.masked.raw if record.masked is not None and record.masked.raw is not None else record
            return self._event(spec, _key(record), open_envelope(came, spec.modality), record)
        except BaseException as error:  # noqa: BLE001  the boundary of one record
            self._refuse(error, record)

    def found(self, stream: str, key: str, candidate: Candidate, kept: Record | Poison) -> Event:
        """The event of a match that the store has kept; one that cannot be read again says so in `fault`.

        Where not even the record can be read, its dead letter has the key and the time, and no place in Kafka.
        """
        record = kept
        try:
            if not isinstance(kept, Poison):
                return self.reread(kept, stream)
            fault = kept
        except Poison as poison:
            fault = poison
            record = self.bare(kept) if isinstance(kept, Record) else kept
        if isinstance(record, Poison):
            record = Record(self._named[stream][0], -1, -1, candidate.time_us // 1000, key.encode(), None)
        return Event(stream, key, candidate.id, "", candidate.time_us, "", b"", record, fault=fault)

    def _spec(self, record: Record) -> StreamSpec:
        spec = self._streams.get(record.topic)
        if spec is None:
            refuse(Reason.UNKNOWN_TOPIC, f"no stream reads topic {record.topic!r}; name it in [streams]")
        return spec

    def _check_type(self, spec: StreamSpec, envelope: Envelope) -> None:
        allowed = MEDIA_TYPES[spec.modality]
        if envelope.content_type not in allowed:
            refuse(
                Reason.CONTENT_TYPE,
                f"content type {shown(envelope.content_type)} is not the {spec.modality} that stream {spec.name!r} "
                f"carries; send {' or '.join(allowed)}",
            )

    def _check_size(self, spec: StreamSpec, given: int, growth: int = 1, spare: int = 0) -> None:
        what, limit, key = self._limits[spec.modality]
        if given > limit * growth + spare:
            refuse(
                Reason.TOO_LARGE,
                f"{what} of {given} bytes is over the limit of {limit} bytes; "
                f"send a smaller one or raise [limits] {key}",
            )

    def _check_time(self, time_us: int) -> None:
        if time_us <= 0:
            refuse(Reason.EVENT_TIME, f"event time is {time_us} us since 1970; it must be after 1970-01-01T00:00:00Z")
        if time_us >= _END_OF_TIME_US:
            refuse(Reason.EVENT_TIME, f"event time is {time_us} us since 1970; it must be before the year 10000")
        ahead_us = time_us - self._clock.now_us()
        if ahead_us > self._max_ahead_us:
            refuse(
                Reason.EVENT_TIME,
                f"event time is {ahead_us / 1e6:.6g} s ahead of the clock, over the limit of "
                f"{self._max_ahead_us / 1e6:.6g} s; set the producer's clock or raise [limits] max_ahead",
            )

    def _check_image(self, envelope: Envelope) -> None:
        jpeg = envelope.content_type == JPEG
        try:
            width, height = read_jpeg(envelope.payload)[:2] if jpeg else png_size(envelope.payload)
        except ImageError as error:
            refuse(Reason.IMAGE_HEADER, f"{'JPEG' if jpeg else 'PNG'} header cannot be read: {error}")
        if width * height > self._max_pixels:
            refuse(
                Reason.TOO_MANY_PIXELS,
                f"image of {width} x {height} = {width * height} pixels is over the limit of "
                f"{self._max_pixels} pixels; send a smaller one or raise [limits] max_frame_pixels",
            )

    def _check_audio(self, envelope: Envelope) -> None:
        try:
            wav = read_wav(envelope.payload)
        except WavError as error:
            refuse(Reason.AUDIO_HEADER, f"WAV header cannot be read: {error}")
        if wav.seconds > self._max_seconds:
            refuse(
                Reason.TOO_LONG,
                f"sound of {wav.seconds:.6g} s is over the limit of {self._max_seconds:g} s; "
                "send a shorter one or raise [limits] max_audio_seconds",
            )


def _key(record: Record) -> str:
    key = record.key
    if not key:
        refuse(Reason.NO_KEY, "the record has no key; the key names what events are matched by, such as the camera")
    try:
        return key.decode()
    except UnicodeDecodeError:
        refuse(Reason.KEY_NOT_UTF8, f"the record's key is not UTF-8: {shown(key)}")


def _check_text(envelope: Envelope) -> None:
    if envelope.content_type != JSON:
        try:
            envelope.payload.decode()
        except UnicodeDecodeError as error:
            refuse(Reason.TEXT_NOT_UTF8, f"the text is not UTF-8 at byte {error.start}; send UTF-8")
        return
    body = parse_json(envelope.payload)
    text = body.get("text") if isinstance(body, dict) else None
    if not isinstance(text, str):
        refuse(Reason.BAD_JSON, 'the JSON is not an object with a string field "text"')
    if not text:
        refuse(Reason.EMPTY_VALUE, 'the field "text" is empty; an event needs a payload')
    to_utf8(text)


def _check_sensor(envelope: Envelope) -> None:
    body = parse_json(envelope.payload)
    if not isinstance(body, dict):
        refuse(
            Reason.BAD_JSON, f'a reading is a JSON object such as {{"speed": 31.5}}; this is a {type(body).__name__}'
        )
    fields = fields_of(body)
    if not [name for name, value in fields.items() if _is_series(name, value)]:
        refuse(
            Reason.NO_NUMBERS,
            f"none of the reading's {len(fields)} fields is a number, a word, true, false, null or a list of them"
            + "".join(f"; it has {shown(name)}" for name in [*fields][:1])
            + '; send them by name, such as {"speed": 31.5, "door": "OPEN"}',
        )


def _is_series(name: str, value: object) -> bool:
    """Whether a field holds numbers or words, of which null is a missing one; what it holds too much of is refused."""
    numbers = value if isinstance(value, list) else [value]
    if len(numbers) > _MOST_STEPS:
        refuse(
            Reason.TOO_LONG,
            f"field {shown(name)} has {len(numbers)} steps, over the limit of {_MOST_STEPS}; send a shorter series",
        )
    known = [number for number in numbers if isinstance(number, int | float)]
    if any(abs(number) > _LARGEST_NUMBER for number in known):
        refuse(
            Reason.NOT_FINITE,
            f"field {shown(name)} holds a number beyond {_LARGEST_NUMBER:.4g}, which 32 bits cannot hold; send null "
            "for a missing one",
        )
    return bool(numbers) and all(one is None or isinstance(one, int | float | str) for one in numbers)
