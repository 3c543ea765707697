"""SIGTERM while Kafka is frozen: the process ends in bounded time, and what it left has its outcome later."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.chaos.ground import Ground
from tests.story import minutes_ago, nearest_frame, story
from tests.town import town, verdicts

DRAIN_SECONDS = 2.0


def test_sigterm_ends_a_worker_whose_kafka_is_frozen(ground: Ground, tmp_path: Path) -> None:
    """Outcomes that cannot be committed are left: exit 1, and the next worker makes them once."""
    events = story(61, minutes_ago(2), 2, 10)
    with town(
        ground, tmp_path, {"texts": 1}, cost_ms=100.0, model={"max_batch": 1}, nursery=ground.nursery,
        delivery={"drain_timeout": f"{DRAIN_SECONDS:g}s"},
    ) as made:  # fmt: skip
        made.feed(events)
        (worker,) = made.start()
        made.read_until(lambda: len(made.results) >= 3)
        os.kill(ground.kafka.pid, signal.SIGSTOP)
        try:
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(DRAIN_SECONDS + 5.0 + 5.0) == 1
        finally:
            os.kill(ground.kafka.pid, signal.SIGCONT)
        assert "read and not committed" in made.log()
        made.workers.clear()
        made.start()
        made.read_until(lambda: len(made.results) >= 20)
        assert made.stop() == [0]
        assert verdicts(made.results) == nearest_frame(events)
        assert len(made.results) == 20
