"""Where the input logs end and how many partitions there are, asked on connections of their own: behind a parked fetch
the answer takes 500 ms."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kafka import TopicPartition
from kafka.errors import KafkaError

from worker.broker.questions import Questions
from worker.records import Partition

# The age of the answers adds to `max_wait`; asking costs the broker about a millisecond.
EVERY_SECONDS = 0.1
# New partitions are found within this and a rebalance; five small requests a second.
COUNT_EVERY_SECONDS = 0.2
ANSWER_TIMEOUT_SECONDS = 5.0
# When nobody has answered for so long the connections are made anew; more patience than any one question has.
SILENCE_SECONDS = 2 * ANSWER_TIMEOUT_SECONDS
_COUNTS = "counts"


class EndsWatch:
    """Asks for the ends of the held partitions, each leader for its own, and for the topics' sizes, in a thread.

    `latest` gives each partition's end with the monotonic time before which it was asked for, so a reader whose
    position has passed the end has read all that was there at that time. A partition that cannot be asked keeps its
    last answer, with its time; the others do not wait for it.
    """

    def __init__(self, connection: Mapping[str, Any], topics: Sequence[str] = ()) -> None:
        """`connection`: kafka-python connection options; `topics`: those whose partitions are counted."""
        self._connection, self._topics = dict(connection), topics
        self._wanted: tuple[TopicPartition, ...] = ()
        self._latest: dict[Partition, tuple[int, float]] = {}
        self._counts: dict[str, tuple[int, float]] = {}
        self._ids: dict[str, Any] = {}
        self._asked: dict[int | str, tuple[Any, float]] = {}  # leader, or _COUNTS -> the answer to come, asked when
        self._due: dict[int | str, float] = {}
        self._heard_at = 0.0
        self._error: BaseException | None = None
        self._stop, self._wake = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="ends", daemon=True)
        self._thread.start()

    def watch(self, partitions: Iterable[Partition]) -> None:
        """From now on asks for these."""
        self._wanted = tuple(TopicPartition(p.topic, p.number) for p in partitions)

    def latest(self) -> dict[Partition, tuple[int, float]]:
        """Partition -> (end offset for a read_committed reader, monotonic seconds when it was asked for).

        Raises:
            Exception: what ended the thread; without new ends no `max_wait` would ever begin.
        """
        if self._error is not None:
            raise self._error
        return self._latest.copy()

    def count(self, topic: str) -> tuple[int, float]:
        """How many partitions a topic has, and the monotonic seconds when that was last asked for; 0, 0.0: never."""
        return self._counts.get(topic, (0, 0.0))

    def topic_id(self, topic: str) -> Any:
        """Which topic of that name it is; None: not known."""
        return self._ids.get(topic)

    def close(self) -> None:
        """Ends the thread and its connections."""
        self._stop.set()
        self._wake.set()
        self._thread.join(timeout=ANSWER_TIMEOUT_SECONDS)

    def _run(self) -> None:
        try:
            self._ask_on()
        except BaseException as error:  # noqa: BLE001  the loop must hear of it, whatever it is
            self._error = error

    def _ask_on(self) -> None:
        questions: Questions | None = None
        while not self._stop.is_set():
            self._wake.wait(EVERY_SECONDS)
            self._wake.clear()
            try:
                if questions is None:
                    self._asked, self._heard_at = {}, time.monotonic()
                    questions = Questions(self._connection, self._topics, self._wake.set)
                self._hear()
                self._ask(questions)
                silent = time.monotonic() - self._heard_at > SILENCE_SECONDS
            except KafkaError:
                # The poll reports that Kafka is away; here it only means that there are no newer answers.
                silent = True
            if silent:
                _close(questions)
                questions = None
        _close(questions)

    def _ask(self, questions: Questions) -> None:
        now = time.monotonic()
        if self._topics and self._may_ask(_COUNTS, now, COUNT_EVERY_SECONDS):
            self._asked[_COUNTS] = questions.counts(), now
        for leader, partitions in questions.leaders(self._wanted).items():
            if self._may_ask(leader, now, EVERY_SECONDS):
                self._asked[leader] = questions.ends(leader, partitions), now
        if not self._asked and not self._wanted:
            self._heard_at = now

    def _may_ask(self, whom: int | str, now: float, every_seconds: float) -> bool:
        if whom in self._asked or now < self._due.get(whom, 0.0):
            return False
        self._due[whom] = now + every_seconds
        return True

    def _hear(self) -> None:
        for whom, (answer, asked_at) in list(self._asked.items()):
            if not answer.is_done:
                if time.monotonic() - asked_at > ANSWER_TIMEOUT_SECONDS:
                    del self._asked[whom]
                continue
            del self._asked[whom]
            if answer.exception is None:
                self._heard_at = time.monotonic()
                self._learn(whom, answer.value, asked_at)
            elif not isinstance(answer.exception, KafkaError | KeyError):
                # After a broker's restart kafka-python 3.0.12 stumbles (KeyError) over an answer without a partition.
                raise answer.exception

    def _learn(self, whom: int | str, value: Any, asked_at: float) -> None:
        if whom == _COUNTS:
            known = {topic: (max(n, self.count(topic)[0]), asked_at) for topic, (n, _) in value.items()}
            self._counts = {**self._counts, **known}
            self._ids = {**self._ids, **{topic: name for topic, (_, name) in value.items() if name is not None}}
        else:
            ends = {Partition(tp.topic, tp.partition): (int(at.offset), asked_at) for tp, at in value[0].items()}
            self._latest = {**self._latest, **ends}


def _close(questions: Questions | None) -> None:
    if questions is not None:
        with contextlib.suppress(KafkaError, KeyError):
            questions.close(int(ANSWER_TIMEOUT_SECONDS * 1000))
