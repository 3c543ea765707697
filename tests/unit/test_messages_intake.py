"""The boundary of one message on its way to the outlet."""

from __future__ import annotations

from typing import Any

from tests.unit.test_feed_outlet import Lines
from tests.unit.test_messages import NOW_US, STREAMS, preset
from worker.feeds.messages.intake import Intake
from worker.feeds.messages.translate import Message, Read, Translator
from worker.feeds.outlet import LiveEvent


class Odd(Translator):
    """With a fault of ours: it fails by one topic while reading, by another while making the event."""

    def read(self, message: Message) -> Read | None:
        """As it should, but of one topic."""
        if message.topic.endswith("/unread"):
            raise KeyError("unread")
        return super().read(message)

    def event(self, read: Read, *rest: Any) -> tuple[LiveEvent, str | None]:
        """As it should, but of one topic."""
        if read.message.topic.endswith("/unmade"):
            raise ZeroDivisionError("unmade")
        return super().event(read, *rest)


class Kept:
    """What an outlet and an observer are told."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.dropped: list[str] = []

    def put(self, event: LiveEvent, **_: Any) -> None:
        """An event."""
        self.events.append(event.key)

    def count(self, name: str, **labels: str) -> None:
        """A message that is left out."""
        self.dropped.append(labels["reason"])


def test_a_fault_of_ours_in_one_message_is_that_message_s() -> None:
    """It is counted, told and settled, and the next one is an event: else it would come again at every start."""
    mapping, kept, lines = preset("mqtt", "zigbee2mqtt"), Kept(), Lines()
    intake = Intake(mapping, Odd(mapping, STREAMS, "/test"), kept, kept, lines)  # type: ignore[arg-type]
    settled: list[str] = []
    for name in ("unread", "unmade", "plug"):
        topic = f"zigbee2mqtt/{name}"
        intake.take(Message(topic, b'{"power": 1.5}', NOW_US, settled=lambda topic=topic: settled.append(topic)))  # type: ignore[misc]
    assert (kept.events, kept.dropped) == (["home"], ["malformed", "malformed"])
    assert settled == ["zigbee2mqtt/unread", "zigbee2mqtt/unmade"]
    assert lines.said == ["a message is left out"] * 2


def test_what_no_stream_takes_waits_for_nobody() -> None:
    """Its partner is not kept: it is settled at once, and nothing is said of a partner that does not come; of a rule
    that has a stream it is, at the end at the latest."""
    mapping, kept, lines = preset("mqtt", "frigate"), Kept(), Lines()
    settled: list[str] = []
    for streams, of in (({"text": STREAMS["text"]}, 20), (STREAMS, 1)):
        intake = Intake(mapping, Translator(mapping, streams, "/test"), kept, kept, lines)  # type: ignore[arg-type]
        picture = Message("frigate/c/person/snapshot", b"\xff\xd8\xff", NOW_US, settled=lambda: settled.append(""))
        for _ in range(of):
            intake.take(picture)
        intake.due(NOW_US + 1)
    assert (len(settled), kept.events, lines.said) == (20, [], [])
    intake.end()
    assert kept.events == ["c"]
