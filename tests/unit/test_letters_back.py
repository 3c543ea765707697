"""What a dead letter becomes when it is sent back, whoever wrote its headers."""

from __future__ import annotations

import pytest

from schemas import names
from worker.broker.replay import letter_back

PLACE = ((names.ERRORS_TOPIC, b"texts"), (names.ERRORS_PARTITION, b"1"), (names.ERRORS_OFFSET, b"7"))


@pytest.mark.parametrize(
    "own",
    [
        (("CE_ID", b"1"), ("Ce_Type", b"t")),
        (("Content-Type", b"Application/CloudEvents+JSON; charset=utf-8"),),
        (("CONTENT-TYPE", b" application/cloudevents+json"),),
    ],
)
def test_an_event_goes_back_as_it_was_in_any_case_of_its_headers(own: tuple[tuple[str, bytes], ...]) -> None:
    """It is told from a plain record, which gets an id and a time of its own."""
    back = letter_back(b"k", b"v", (*own, *PLACE))
    assert back is not None
    assert (back.topic, back.headers) == ("texts", own)


def test_what_only_redis_had_is_not_sent() -> None:
    """A letter without a place in Kafka holds no record that could be sent again."""
    nowhere = ((names.ERRORS_TOPIC, b"texts"), (names.ERRORS_PARTITION, b"-1"), (names.ERRORS_OFFSET, b"-1"))
    assert letter_back(b"k", None, nowhere) is None
