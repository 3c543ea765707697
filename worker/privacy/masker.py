"""Records -> the same, masked: what a body is made of goes through its rule; what no rule can read is refused."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

from schemas import names
from worker.errors import Poison, blamed
from worker.privacy.texts import TextMask
from worker.records import Masked, Record, Stage
from worker.strict_json import MOST_DEEP, read_json, write_json

CANNOT_MASK = "cannot_mask"
# key, content type, body -> body
PictureMask = Callable[[str, str, bytes], bytes]

# By these an event is found and matched; docs/privacy.md says so.
_NAMES_OF_EVENT = ("id", "source")
_KEPT_HEADERS = (names.CE_ID, names.CE_SOURCE)
_NUMBERS = (names.ATTEMPTS, names.TIMESTAMP)
_TRACE = re.compile(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
# Reasons whose messages tell numbers and settings alone.
_TELL_NUMBERS = frozenset(
    {"too_large", "too_many_pixels", "empty_value", "text_not_utf8", "no_key", "no_numbers", CANNOT_MASK}
)


class Masker:
    """See worker.ports.Mask."""

    def __init__(
        self,
        texts: TextMask,
        pictures: PictureMask | None,
        modalities: Mapping[str, str],
        *,
        unmasked: Collection[str] = (),
        before_model: bool = True,
    ) -> None:
        """`modalities`: by stream; `unmasked`: streams that stay as they are; `before_model` False: the model sees what
        lies in Kafka, and everybody else what is masked."""
        self._texts, self._pictures, self._modalities = texts, pictures, dict(modalities)
        self._unmasked, self._before_model = frozenset(unmasked), before_model

    def covers(self, stream: str) -> bool:
        """See Mask.covers."""
        return stream not in self._unmasked

    def masked(self, stream: str, key: str, content_type: str, payload: bytes, record: Record) -> tuple[Record, bytes]:
        """See Mask.masked."""
        try:
            body = self._body(self._modalities[stream], key, content_type, payload)
            value = body if payload is record.value else self._structured(record.value or b"", content_type, body)
            headers = self._headers(record)
        except BaseException as error:  # noqa: BLE001  the boundary of one record
            kind = (error if isinstance(error, Poison) else blamed(error, Stage.VALIDATE, CANNOT_MASK)).exception
            message = f"the {self._modalities[stream]} cannot be masked as [privacy] asks ({kind}); it is refused"
            raise Poison(Stage.VALIDATE, CANNOT_MASK, message) from None
        what = Masked(len(record.value or b""), None if self._before_model else record)
        return replace(record, value=value, headers=headers, masked=what), body

    def bare(self, stream: str, record: Record) -> Record:
        """See Mask.bare."""
        size = len(record.value or b"")
        return replace(record, value=b"" if size else record.value, headers=self._headers(record),
                       masked=Masked(size, None, left_out=size > 0))  # fmt: skip

    def veiled(self, poison: Poison) -> Poison:
        """See Mask.veiled."""
        if poison.reason in _TELL_NUMBERS:
            return poison
        message = f"the record is refused for {poison.reason}; what it holds is not told while [privacy] is on"
        return Poison(poison.stage, poison.reason, message, poison.stream)

    def _body(self, modality: str, key: str, content_type: str, payload: bytes) -> bytes:
        """Of JSON the whole is written anew: of a field that is there twice a reader sees one."""
        if modality == "image":
            if self._pictures is None:
                raise LookupError("no rule for pictures")
            return self._pictures(key, content_type, payload)
        if content_type == names.JSON:
            return write_json(self._texts.json(read_json(payload), numbers=modality == "text"))
        if modality == "text":
            return self._texts.text(payload.decode()).encode()
        raise LookupError(f"no rule for {modality}")

    def _structured(self, value: bytes, content_type: str, body: bytes) -> bytes:
        """The event with its data masked, and every other attribute but its names."""
        attributes: dict[str, Any] = read_json(value, MOST_DEEP + 1)
        coded = "data_base64" in attributes and attributes["data_base64"] is not None
        kept = {name: attributes[name] for name in _NAMES_OF_EVENT}
        others = {name: one for name, one in attributes.items() if name not in ("data", "data_base64", *kept)}
        trace = others.pop(names.TRACEPARENT, None)
        if isinstance(trace, str) and _TRACE.fullmatch(trace.encode()):
            kept[names.TRACEPARENT] = trace
        masked = {**self._texts.json(others, numbers=True), **kept}
        if coded:
            return write_json({**masked, "data_base64": base64.b64encode(body).decode()})
        return write_json({**masked, "data": read_json(body) if content_type == names.JSON else body.decode()})

    def _headers(self, record: Record) -> tuple[tuple[str, bytes | None], ...]:
        """Those whose values are UTF-8, masked; one whose name a rule finds something in is left out."""
        return tuple(
            (name, self._header(name, value)) for name, value in record.headers if self._texts.text(name) == name
        )

    def _header(self, name: str, value: bytes | None) -> bytes | None:
        low = name.lower()
        if value is None or low in _KEPT_HEADERS or (low in _NUMBERS and value.isdigit()):
            return value
        if low.endswith(names.TRACEPARENT) and _TRACE.fullmatch(value):
            return value
        try:
            return self._texts.text(value.decode()).encode()
        except UnicodeDecodeError:
            return b""
