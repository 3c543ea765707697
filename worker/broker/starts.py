"""Where the group begins to read a partition for which it has committed nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kafka import KafkaAdminClient, TopicPartition
from kafka.errors import GroupIdNotFoundError


class Starts:
    """`auto_offset_reset` is for the group's first start alone.

    A partition that a topic gains later is read from its first record on, whatever the setting: producers may use it
    before the group has noticed it, and what they sent is no history that the group was told to leave out. A topic is
    known to the group when it had commits before this member joined; in a group without, a new partition is one that
    was not there when this member was made.
    """

    def __init__(self, consumer: Any, first_start: str) -> None:
        """`first_start`: `earliest` or `latest`."""
        self._consumer, self._first_start = consumer, first_start
        self._first_counts: dict[str, int] = {}

    def know(self, connection: Mapping[str, Any], group_id: str, counts: Mapping[str, int]) -> None:
        """Learns what is new, before the member joins and its group commits; `counts`: topic -> partitions now.

        Raises:
            KafkaError: no answer.
        """
        known = _committed_topics(connection, group_id) if self._first_start == "latest" else ()
        self._first_counts = {topic: 0 if topic in known else count for topic, count in counts.items()}

    def seek(self, partitions: Iterable[TopicPartition]) -> None:
        """Reads on from where these begin."""
        for partition in partitions:
            at_end = self._first_start == "latest" and partition.partition < self._first_counts[partition.topic]
            (self._consumer.seek_to_end if at_end else self._consumer.seek_to_beginning)(partition)


def _committed_topics(connection: Mapping[str, Any], group_id: str) -> frozenset[str]:
    """The admin's question does not wait for transactions that are pending, as a member's would."""
    admin = KafkaAdminClient(**connection)
    try:
        found = admin.list_group_offsets({group_id: None})[group_id]
    except GroupIdNotFoundError:
        return frozenset()
    finally:
        admin.close()
    return frozenset(partition.topic for partition, at in found.items() if at.offset >= 0)
