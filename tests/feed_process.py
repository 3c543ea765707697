"""A feed in a process of its own: `python -m tests.feed_process --hang N ARGUMENTS...`: it hangs when it writes to
Kafka for the N-th time, so that Kafka has nothing of what was taken since; with -N once it has written, before anybody
hears of it. The rest is what `fusion-worker` takes.
"""

from __future__ import annotations

import sys
import threading
from typing import Any

from worker.broker.sink import PlainSink
from worker.cli import main


def _hangs_at(number: int) -> None:
    publish, seen = PlainSink.publish, [0]

    def publish_or_hang(sink: PlainSink, *records: Any) -> None:
        seen[0] += 1
        if seen[0] != number:
            publish(sink, *records)
        if seen[0] == abs(number):
            threading.Event().wait()

    PlainSink.publish = publish_or_hang  # type: ignore[method-assign]


if __name__ == "__main__":
    given = sys.argv[1:]
    if given[0] == "--hang":
        _hangs_at(int(given[1]))
        del given[:2]
    sys.exit(main(given))
