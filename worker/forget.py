"""`fusion-worker forget`: what Redis knows of a key goes; Kafka keeps what it has."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from worker.arguments import not_empty
from worker.errors import Retryable, Unreachable

if TYPE_CHECKING:
    from worker.config import Settings

_LEFT = (
    "left alone: Kafka's topics (their retention), what running workers hold in memory, what sinks have delivered "
    "(of MQTT: `fusion-worker sink mqtt --forget`), folders of record and explain; see docs/privacy.md"
)


def add_forget_arguments(parser: ArgumentParser) -> None:
    """What `forget` takes."""
    parser.add_argument(
        "--key", action="append", required=True, type=not_empty, metavar="KEY",
        help="the events' key, such as a camera's; repeatable",
    )  # fmt: skip


def forget(settings: Settings, keys: Sequence[str], say: Callable[[str], None]) -> int:
    """Deletes; 0 when it did, also when nothing was known.

    Raises:
        Unreachable: Redis did not answer.
    """
    from worker.connect import store_of
    from worker.from_settings import rules_of
    from worker.ops.metrics import PrometheusObserver

    store = store_of(settings, rules_of(settings), PrometheusObserver())
    try:
        for key in keys:
            events, others = store.forget(key)
            say(f"{key}: deleted {events} events, and {others} Redis keys of epochs that have ended")
    except Retryable as error:
        raise Unreachable(f"redis.url: {error}; what was told before is deleted, run it again for the rest") from error
    finally:
        store.close()
    say(_LEFT)
    return 0
