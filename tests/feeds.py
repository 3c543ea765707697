"""What tests of live feeds have in common."""

from __future__ import annotations

from worker.ops.metrics import PrometheusObserver


def tell_feed(observer: PrometheusObserver, turn: int) -> None:
    """What a busy feed tells."""
    observer.count("feed_sent_total", 4, stream="frames")
    observer.count("feed_dropped_total", stream="frames", reason="buffer_full")
    observer.gauge("feed_buffered_bytes", turn % 9, place="outlet")
    observer.gauge("feed_behind_seconds", turn % 3, place="outlet")
    observer.count("feed_clock_changes_total", key="junction-12", clock="arrival")
