"""Wrong workers, each with one mistake, to show that the tests see it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from kafka.structs import ConsumerGroupMetadata

from worker import assemble
from worker.broker import sink
from worker.broker.sink import PlainSink
from worker.broker.slots import SlotSink
from worker.broker.source import KafkaSource
from worker.pipeline.epochs import Epochs
from worker.pipeline.loop import Pipeline
from worker.pipeline.outcomes import Outcomes
from worker.records import Outcome, Outgoing, Partition
from worker.stages import ledger
from worker.stages.batch import Fused
from worker.stages.validate import Validator
from worker.store import epoch
from worker.store.server import Server

# A busy network's delay where the mistake is, for a fault to fall into.
GAP_SECONDS = 0.3
Offsets = Mapping[Partition, tuple[int, str]]
_folder = Path()


def gap_mark(folder: Path, pid: int) -> Path:
    """The file that is there while that process is where its mistake shows if it is struck."""
    return folder / f"gap-{pid}"


def _gap() -> None:
    mark = gap_mark(_folder, os.getpid())
    mark.touch()
    time.sleep(GAP_SECONDS)
    mark.unlink()


def commit_before_publish() -> None:
    """Offsets are committed first, in a transaction of their own; a crash in between loses the results."""
    publish = SlotSink.publish

    def wrong(self: SlotSink, outgoing: Sequence[Outgoing], offsets: Offsets, membership: Any) -> None:
        publish(self, [], offsets, membership)
        _gap()
        publish(self, outgoing, {}, membership)

    SlotSink.publish = wrong  # type: ignore[method-assign]


def publish_outside_the_transaction() -> None:
    """Results leave by a plain producer; a crash before the commit doubles them."""
    make = assemble.sink_of

    def wrong(settings: Any, connection: Any, *parts: Any) -> Any:
        plain = PlainSink(connection, lambda offsets: None)
        made = make(settings, connection, *parts)
        publish = made.publish

        def twice(outgoing: Sequence[Outgoing], offsets: Offsets, membership: Any) -> None:
            plain.publish(outgoing, {}, membership)
            _gap()
            publish([], offsets, membership)

        made.publish = twice  # type: ignore[method-assign]
        return made

    assemble.sink_of = wrong  # type: ignore[assignment]


def ledger_ignored() -> None:
    """What an earlier owner finished out of order is done again."""
    ledger.decode_finished = lambda base, metadata: iter(())  # type: ignore[assignment]


def epoch_ignored() -> None:
    """An emptied Redis is taken for one that never knew more."""
    Epochs.same = lambda self: True  # type: ignore[method-assign]


def generation_not_passed() -> None:
    """Offsets are committed for the group, not for this member of this generation: any zombie may."""
    transact = sink._transact

    def wrong(producer: Any, outgoing: Sequence[Outgoing], offsets: Offsets, membership: Any) -> None:
        _gap()
        transact(producer, outgoing, offsets, ConsumerGroupMetadata(membership.group_id, -1, "", None))

    sink._transact = wrong
    # The living fence a frozen worker's slot as well; without that second line the first is seen to be missing.
    SlotSink._adopt = lambda self: None  # type: ignore[method-assign]
    # Half of the mistake is to trust the group metadata of now; the other half is to forget to end leases.
    KafkaSource.membership = property(lambda self: self._consumer.group_metadata())  # type: ignore[assignment,method-assign]


def drain_skipped() -> None:
    """SIGTERM ends the process at once."""
    Pipeline._drain = lambda self: os._exit(0)  # type: ignore[method-assign]


def _in_the_server(right: str, wrong: str) -> None:
    """Another Lua, which the server runs."""
    load = Server._load

    def load_wrong(self: Server) -> None:
        self._script = self._script.replace(right, wrong)
        assert wrong in self._script
        load(self)

    Server._load = load_wrong  # type: ignore[method-assign]


def eviction_ignored() -> None:
    """What is left of a key is taken for all of it."""
    _in_the_server("return fits and e or nil", "return e")
    told = epoch._told
    epoch._told = lambda answers: (told(answers)[0], "0", "one")


def any_clock_believed() -> None:
    """An event time may lie as far ahead as it likes."""
    Validator._check_time = lambda self, time_us: None  # type: ignore[method-assign]


def outcome_lost() -> None:
    """Of ten anchors one is finished with nothing in its transaction."""
    right = Outcomes._outcome

    def wrong(self: Outcomes, record: Any, rejected: Any, fused: Any) -> Outcome:
        outcome = right(self, record, rejected, fused)
        return replace(outcome, outgoing=()) if record.offset % 10 == 9 else outcome

    Outcomes._outcome = wrong  # type: ignore[method-assign]


def verdict_forgotten() -> None:
    """Of ten verdicts one never reaches the committer."""
    right = Outcomes.fused

    def wrong(self: Outcomes, batch: Sequence[Fused]) -> None:
        right(self, [one for one in batch if one.aligned.anchor.record.offset % 10 != 9])

    Outcomes.fused = wrong  # type: ignore[method-assign]


MUTANTS: dict[str, Callable[[], None]] = {
    made.__name__: made
    for made in (
        commit_before_publish, publish_outside_the_transaction, ledger_ignored, epoch_ignored, generation_not_passed,
        drain_skipped,
    )
}  # fmt: skip


# Those that the worker itself tells: tests/alerts.
TOLD: dict[str, Callable[[], None]] = {made.__name__: made for made in (outcome_lost, verdict_forgotten)}

# Those that a corner shows.
CORNERED: dict[str, Callable[[], None]] = {made.__name__: made for made in (eviction_ignored, any_clock_believed)}


def mutate(name: str, folder: Path) -> None:
    """Makes this process's worker the mutant of that name, whose marks lie in `folder`."""
    global _folder
    _folder = folder
    (MUTANTS | CORNERED | TOLD)[name]()
