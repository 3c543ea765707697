"""What lies in Kafka before a contender starts, and what every text's result must be."""

from __future__ import annotations

import importlib.util
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import simplejpeg
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic

from tests.bench.job import no_op_score
from tests.story import Fed, minutes_ago, nearest_frame
from worker.feeds.junction import LABELS, frame, report

PARTITIONS, KEYS = 4, 16
FRAME_BYTES = 33_000
BATCH_BYTES = 256 * 1024  # of the producer: a handful of frames
FRAME_US = 100_000  # ten frames a second of each key
TAIL_FRAMES = 12  # past the last text, so that event time decides every one
PICTURES = 48
COMMENT_BYTES = 60_000  # of a JPEG, at most
# The no-op job is quick: it has this many frames a text of the other job, shared out over the mix.
NO_OP_FRAMES = 24


class Expected(NamedTuple):
    """The one right answer to a text."""

    frame: str | None
    score: float


@dataclass(frozen=True)
class Backlog:
    """The events of one job and mix.

    Attributes:
        name: begins the topics' names.
        mix: frames per text.
        texts_partitions: of the texts' topic; the frames' has `PARTITIONS`.
        frame_bytes: of each frame.
    """

    name: str
    texts: int
    mix: int
    start_us: int
    seed: int = 13
    texts_partitions: int = PARTITIONS
    frame_bytes: int = FRAME_BYTES

    @property
    def seconds(self) -> float:
        """Event time that it spans."""
        return (self.texts // KEYS * self.mix + TAIL_FRAMES) * FRAME_US / 1e6

    def events(self) -> list[Fed]:
        """In the order of time; each event's id is its place in Kafka, as the worker names plain records."""
        pictures, rng, made = pool(self.seed, self.frame_bytes), random.Random(self.seed), []
        for number in range(KEYS):
            key, each = f"camera-{number}", self.texts // KEYS
            for n in range(each):
                at = self.start_us + n * self.mix * FRAME_US + rng.randrange(0, self.mix * FRAME_US, 1000)
                made.append(Fed(at, "texts", key, "", rng.choice(pictures.reports)))
            for n in range(each * self.mix + TAIL_FRAMES):
                at = self.start_us + n * FRAME_US + rng.randrange(0, FRAME_US, 1000)
                made.append(Fed(at, "frames", key, "", rng.choice(pictures.frames)))
        return list(self._placed(sorted(made)))

    def _placed(self, events: list[Fed]) -> Iterator[Fed]:
        ends: Counter[tuple[str, int]] = Counter()
        for event in events:
            place = event.stream, partition_of(event.key, self.partitions(event.stream))
            yield replace(event, id=f"{self.topic(event.stream)}/{place[1]}/{ends[place]}")
            ends[place] += 1

    def topic(self, stream: str) -> str:
        """The topic of a stream."""
        return f"{self.name}.{stream}"

    def partitions(self, stream: str) -> int:
        """How many a stream's topic has."""
        return self.texts_partitions if stream == "texts" else PARTITIONS

    def feed(self, kafka: str, events: list[Fed]) -> None:
        """Makes the topics and puts all of it into them."""
        create(kafka, {self.topic(stream): self.partitions(stream) for stream in ("texts", "frames")})
        self.send(kafka, events)

    def send(self, kafka: str, events: list[Fed]) -> None:
        """Plain records: the body, the key, and the event's time as the record's.

        Raises:
            RuntimeError: a partition has more or fewer records than were sent.
        """
        send, flush = sender(kafka)
        for event in events:
            send(self.topic(event.stream), partition_of(event.key, self.partitions(event.stream)), event)
        flush()
        _ensure_all(kafka, events)

    def drop(self, kafka: str) -> None:
        """Takes the topics away again."""
        admin = KafkaAdminClient(bootstrap_servers=kafka)
        admin.delete_topics([self.topic("texts"), self.topic("frames")])
        admin.close()


def backlog_of(part: tuple[str, int], texts: int, frame_bytes: int = FRAME_BYTES) -> Backlog:
    """Sized so that each job takes seconds; it ends a minute ago."""
    job, mix = part
    count = texts if job == "shipped" else texts * NO_OP_FRAMES // mix
    made = Backlog(f"{job}-{mix}-{os.getpid()}", -(-count // KEYS) * KEYS, mix, 0)
    return replace(made, start_us=minutes_ago(1 + made.seconds / 60), frame_bytes=frame_bytes)


@dataclass(frozen=True)
class Pool:
    """Distinct bodies, few enough to be made in a moment."""

    frames: list[bytes]
    reports: list[bytes]


def pool(seed: int, frame_bytes: int = FRAME_BYTES) -> Pool:
    """JPEGs of so many bytes and reports of the junction that the shipped model knows."""
    rng = np.random.default_rng(seed)
    frames = [_sized(frame(rng, LABELS[n % len(LABELS)]), n, frame_bytes) for n in range(PICTURES)]
    return Pool(frames, [report(rng, LABELS[n % len(LABELS)]).encode() for n in range(PICTURES)])


def _sized(jpeg: bytes, number: int, size: int) -> bytes:
    """The same picture as a JPEG of so many bytes: as good as fits, the rest comments that end with its number."""
    pixels = simplejpeg.decode_jpeg(jpeg)
    fitting = (simplejpeg.encode_jpeg(pixels, quality=quality) for quality in range(99, 50, -1))
    best = next(made for made in fitting if len(made) <= size - 32)
    filled = size - len(best)
    count = -(-filled // COMMENT_BYTES)
    comments = (_comment(filled // count + (n < filled % count), number) for n in range(count))
    return best[:-2] + b"".join(comments) + best[-2:]


def _comment(size: int, number: int) -> bytes:
    return b"\xff\xfe" + (size - 2).to_bytes(2, "big") + b"%*d" % (size - 4, number)


def partition_of(key: str, partitions: int = PARTITIONS) -> int:
    """Where a key's events lie in a topic of so many."""
    return int(key.rpartition("-")[2]) % partitions


def sender(kafka: str, linger_ms: int = 20) -> tuple[Callable[[str, int, Fed], None], Callable[[], None]]:
    """(sends an event to a topic and partition; waits until Kafka has all): by librdkafka where it is installed."""
    if importlib.util.find_spec("confluent_kafka") is None:
        slow = KafkaProducer(bootstrap_servers=kafka, batch_size=BATCH_BYTES, linger_ms=linger_ms)

        def send(topic: str, partition: int, event: Fed) -> None:
            time_ms = event.time_us // 1000 or None
            slow.send(topic, event.body, event.key.encode(), partition=partition, timestamp_ms=time_ms)

        return send, slow.flush
    from confluent_kafka import Producer

    options = {
        "bootstrap.servers": kafka,
        "batch.size": BATCH_BYTES,
        "linger.ms": linger_ms,
        "enable.idempotence": True,
        "log_level": 3,  # errors; a new broker makes it wait a moment, with a warning
    }
    fast = Producer({**options, "queue.buffering.max.kbytes": 2**17})

    def send_fast(topic: str, partition: int, event: Fed) -> None:
        while True:
            try:
                return fast.produce(
                    topic, event.body, event.key.encode(), partition=partition, timestamp=event.time_us // 1000
                )
            except BufferError:  # its queue is full
                fast.poll(0.1)

    return send_fast, fast.flush


def _ensure_all(kafka: str, events: list[Fed]) -> None:
    """Each partition ends behind its last event: none was sent twice or lost."""
    wanted: Counter[TopicPartition] = Counter()
    for event in events:
        topic, number, _ = event.id.rsplit("/", 2)
        wanted[TopicPartition(topic, int(number))] += 1
    reader = KafkaConsumer(bootstrap_servers=kafka, group_id=None)
    found = reader.end_offsets(list(wanted))
    reader.close()
    if found != wanted:
        raise RuntimeError(f"the backlog has {found}, not {wanted}: records were sent twice or lost")


def create(kafka: str, topics: Mapping[str, int], configs: Mapping[str, str] | None = None) -> None:
    """Makes topics."""
    admin = KafkaAdminClient(bootstrap_servers=kafka)
    admin.create_topics([NewTopic(name, count, 1, topic_configs=dict(configs or {})) for name, count in topics.items()])
    admin.close()


def expected(events: list[Fed]) -> dict[str, Expected]:
    """The oracle's answer to every text, by the text's id."""
    bodies = {event.id: event.body for event in events}
    return {
        text: Expected(found, no_op_score(bodies[text], found or "", bodies[found] if found else b""))
        for text, found in nearest_frame(events).items()
    }
