"""Questions to brokers that nobody waits for: each is answered, fails or is forgotten alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from kafka import KafkaConsumer, TopicPartition

_LATEST = -1
_NO_LEADER = (None, -1)


class Questions:
    """A connection to each broker. Answers are futures of kafka-python's: `is_done`, `value`, `exception`.

    The consumer's own calls wait for all that they ask for together: in kafka-python 3.0.12 one partition without a
    leader (a KeyError) or one broker that does not answer takes the others' answers away.
    """

    def __init__(self, connection: Mapping[str, Any], topics: Sequence[str], heard: Callable[[], None]) -> None:
        """`heard` is called, in the client's thread, whenever an answer has come.

        Raises:
            KafkaError: no broker answers.
        """
        self._heard = heard
        self._consumer = KafkaConsumer(
            isolation_level="read_committed", enable_auto_commit=False, allow_auto_create_topics=False, **connection
        )
        self._fetcher, self._cluster = self._consumer._fetcher, self._consumer._cluster
        self._manager = self._fetcher._manager
        if topics:
            self._cluster.set_topics(topics)

    def leaders(self, partitions: Iterable[TopicPartition]) -> dict[int, list[TopicPartition]]:
        """The partitions by the broker that leads them; those without a leader, or unknown, are left out."""
        found: dict[int, list[TopicPartition]] = {}
        for partition in partitions:
            leader = self._cluster.leader_for_partition(partition)
            if leader not in _NO_LEADER:
                found.setdefault(leader, []).append(partition)
        return found

    def ends(self, leader: int, partitions: Sequence[TopicPartition]) -> Any:
        """Gives (partition -> end for a read_committed reader, those that this broker does not lead any more)."""
        return self._asked(self._fetcher._send_list_offsets_request, leader, dict.fromkeys(partitions, (_LATEST, -1)))

    def counts(self) -> Any:
        """Gives topic -> (number of partitions, its id), and learns who leads them."""
        return self._asked(self._metadata)

    async def _metadata(self) -> dict[str, tuple[int, Any]]:
        answer = await self._manager.send(self._cluster.metadata_request())
        self._cluster.update_metadata(answer)
        known = self._cluster
        return {one: (len(known.partitions_for_topic(one) or ()), known.topic_id(one)) for one in known.topics()}

    def _asked(self, question: Any, *args: Any) -> Any:
        return self._manager.call_soon(question, *args).add_both(lambda _: self._heard())

    def close(self, timeout_ms: int) -> None:
        """Ends the connections."""
        self._consumer.close(autocommit=False, timeout_ms=timeout_ms)
