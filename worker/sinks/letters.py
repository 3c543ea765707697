"""Results that a destination refuses for good -> dead letters that Kafka has, and a stop where they are many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from worker.errors import Poison, TooLarge
from worker.records import Outgoing, Partition, Record, Rejected, Stage
from worker.stages.guard import DeadLetterGuard, suffix
from worker.stages.publish import ResultWriter
from worker.stages.shrink import shrunk


class Letters:
    """Writes the dead letters of one sink and counts them against `[limits]`."""

    def __init__(self, producer: Any, writer: ResultWriter, guard: DeadLetterGuard) -> None:
        """`producer`: worker.broker.sink.PlainSink."""
        self._producer, self._writer, self._guard = producer, writer, guard

    def begins(self, partition: Partition, metadata: str) -> None:
        """Goes on from the counts that were committed with the partition."""
        self._guard.resume(partition.topic, metadata)

    def settle(self, records: Sequence[tuple[Record, Poison | None]]) -> str:
        """Sends the letters of those that were refused and counts all; the metadata of their commit.

        Raises:
            Retryable: Kafka did not take a letter.
            DeadLetterLimit: a limit of `[limits]` is hit; none of it may be committed.
        """
        if not records:
            return ""
        topic = records[0][0].topic
        tallies = self._guard.after({topic: [(bad is not None, str(bad or "")) for _, bad in records]})
        letters = [(self._letter(record, bad), record.place) for record, bad in records if bad is not None]
        if letters:
            self._send(letters)
        self._guard.keep(tallies)
        return suffix(tallies[topic])

    def _letter(self, record: Record, bad: Poison) -> Outgoing:
        rejected = Rejected(record, Stage(bad.stage), bad.reason, str(bad), bad.exception)
        return self._writer.dead_letter(rejected)

    def _send(self, letters: list[tuple[Outgoing, Any]]) -> None:
        while True:
            try:
                self._producer.publish([letter for letter, _ in letters], {}, None)
            except TooLarge as error:
                letters = [
                    (shrunk(letter, str(place)), place) if number in error.places else (letter, place)
                    for number, (letter, place) in enumerate(letters)
                ]
            else:
                return

    def close(self) -> None:
        """Ends the producer."""
        self._producer.close()
