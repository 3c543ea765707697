"""What kafka-python raises -> the worker's errors."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from kafka.errors import KafkaError
from kafka.net.selector import NetworkSelector

from worker.errors import Fatal, FusionError, Retryable, Unreachable

GONE = (
    "its records were deleted before they were read (retention), or the topic was recreated; to go on without them set "
    "the group's offsets with Kafka's kafka-consumer-groups tool"
)
ACCESS_REMEDY = "check kafka.sasl_*; `fusion-worker check` tells which rights are missing (docs/security.md)"
_UNREADABLE_REMEDY = (
    "nothing of it was committed; `fusion-worker check` tells which codecs are missing; past data that is itself "
    "corrupt the group is moved with Kafka's kafka-consumer-groups tool"
)
# After a broker's restart the client may stumble for some seconds over what it remembers of the old one; a new client
# remembers nothing, and a start costs less than this.
STUMBLING_SECONDS = 10.0


def _says_something(line: logging.LogRecord) -> bool:
    """kafka-python 3.0.12 calls it an error that a connection which it has closed itself has no socket any more."""
    transport = line.args[0] if isinstance(line.args, tuple) and line.args else None
    return not (line.exc_info and isinstance(line.exc_info[1], AttributeError) and getattr(transport, "_closed", False))


logging.getLogger("kafka.net.transport").addFilter(_says_something)
# It warns of its own steps that take 0.1 s by the wall, as any does while other threads or programs have the processor.
NetworkSelector.DEFAULT_CONFIG["slow_task_threshold_secs"] = 0


def called(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What the function gives.

    Raises:
        Retryable: Kafka did not answer, or a partition has no leader (a KeyError in kafka-python 3.0.12).
        Fatal: see `translated`.
    """
    try:
        return function(*args, **kwargs)
    except KafkaError as error:
        raise translated(error) from error
    except KeyError as error:
        raise Retryable(f"Kafka: no answer about {error}; has that partition a leader?") from error


def translated(error: KafkaError) -> Exception:
    """Retryable, unless repeating cannot help."""
    name = type(error).__name__
    if name in ("OffsetOutOfRangeError", "NoOffsetForPartitionError", "LogTruncationError"):
        return without_offset(error.args[0] if error.args and isinstance(error.args[0], dict) else {}, str(error))
    if is_refusal(error):
        return refused(str(error))
    return Retryable(f"Kafka: {name}: {error}")


def is_refusal(error: BaseException) -> bool:
    """Credentials or rights are missing: repeating does not help."""
    return any(word in type(error).__name__ for word in ("Authorization", "Authentication"))


def without_offset(places: Mapping[tuple[str, int], int], said: str = "") -> Fatal:
    """(topic, partition) -> the offset that is not there; `said`: what the client says where it names none."""
    told = ", ".join(f"{topic}/{number} has no offset {at}" for (topic, number), at in places.items())
    return Fatal(f"{told or said}: {GONE}")


def refused(said: str) -> Unreachable:
    """Credentials or access rules are wrong."""
    return Unreachable(f"Kafka refuses access: {said}; {ACCESS_REMEDY}")


def unreadable(topic: str, partition: int, offset: int, cause: str) -> Fatal:
    """A batch that nobody can unpack."""
    told = " ".join(cause.split())
    return Fatal(f"{topic}/{partition}/{offset}: the batch cannot be unpacked ({told}); {_UNREADABLE_REMEDY}")


class Polls:
    """A consumer's polls: each gives records, or one of the worker's errors, and none is lost by an error.

    The client moves its positions on before it hands records out, so an error in between would pass over them; they go
    back to where they were. An error that nobody foresaw is repeated for STUMBLING_SECONDS and then ends the process. A
    poll that fails takes its time too, so that a loop that repeats it does not turn at full speed.
    """

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer
        self._stumbles_since: float | None = None

    def poll(self, timeout_seconds: float) -> Any:
        """Partition -> records. Raises Retryable or Fatal."""
        until, before = time.monotonic() + timeout_seconds, self._positions()
        try:
            found = self._consumer.poll(timeout_ms=int(timeout_seconds * 1000))
        except FusionError:
            raise
        except Exception as error:  # The client's own faults, whatever they are: told, bounded, without loss.
            self._take_back(before)
            failure = self._judged(error)
            if isinstance(failure, Retryable):
                time.sleep(max(0.0, until - time.monotonic()))
            raise failure from error
        self._stumbles_since = None
        return found

    def _judged(self, error: Exception) -> Exception:
        if isinstance(error, KafkaError):
            return translated(error)
        now, told = time.monotonic(), f"Kafka's client fails: {type(error).__name__}: {error}"
        if self._stumbles_since is None:
            self._stumbles_since = now
        if now - self._stumbles_since > STUMBLING_SECONDS:
            return Fatal(f"{told}; for {STUMBLING_SECONDS:g} s already: a new start may help")
        return Retryable(told)

    def _positions(self) -> dict[Any, Any]:
        assigned = self._consumer._subscription.assignment
        return {place: state.position for place, state in assigned.items() if state.position is not None}

    def _take_back(self, before: dict[Any, Any]) -> None:
        for place, now in self._positions().items():
            if place in before and before[place].offset < now.offset:
                self._consumer.seek(place, before[place].offset)
