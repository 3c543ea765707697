"""A feed in a process of its own: `python -m tests.feed_process --kill N ARGUMENTS...`: SIGKILL when it is about to
write to Kafka for the N-th time, so that Kafka has nothing of what was taken last. The rest is what `fusion-worker`
takes.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from worker.broker.sink import PlainSink
from worker.cli import main


def _killed_at(number: int) -> None:
    publish, seen = PlainSink.publish, [0]

    def publish_or_die(sink: PlainSink, *records: Any) -> None:
        seen[0] += 1
        if seen[0] == number:
            os.kill(os.getpid(), signal.SIGKILL)
        publish(sink, *records)

    PlainSink.publish = publish_or_die  # type: ignore[method-assign]


if __name__ == "__main__":
    given = sys.argv[1:]
    if given[0] == "--kill":
        _killed_at(int(given[1]))
        del given[:2]
    sys.exit(main(given))
