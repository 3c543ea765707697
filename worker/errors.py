"""Errors and who reacts: Retryable (the loop, again), Poison (a dead letter), Fatal (the process stops)."""

from __future__ import annotations

import re
from collections.abc import Collection

# An object without a better name, such as `<_io.BytesIO object at 0x7f00>`: it tells the reader nothing.
_OBJECT = re.compile(r" ?<[^<>]* at 0x[0-9a-fA-F]+>")


class FusionError(Exception):
    """Root of every error that the worker raises on purpose; objects that a library's message holds are taken out."""

    def __init__(self, message: object = "") -> None:
        super().__init__(_OBJECT.sub("", str(message)))


class Retryable(FusionError):
    """A server is away or busy; the same call may succeed later. The loop waits and repeats."""


class NoRoom(Retryable):
    """Redis is there, and takes no more: it is at `maxmemory`. Nothing is known of the call's other commands."""


class Full(NoRoom):
    """Redis is at `maxmemory`; the other events of the call are in it.

    Attributes:
        refused: places of the events in the call that are not.
    """

    def __init__(self, message: str, refused: Collection[int]) -> None:
        super().__init__(message)
        self.refused = frozenset(refused)


class Uncertain(Retryable):
    """A transaction's result is unknown or it was fenced. The committed offsets must be read again."""


class StaleMember(Retryable):
    """The group has moved on since the membership was captured; nothing was published.

    Attributes:
        is_unknown: the group has evicted this member.
    """

    is_unknown = False


class TooLarge(Retryable):
    """Some records are larger than their topic takes; nothing was published.

    Attributes:
        places: which of the records that were to be published, by their number.
    """

    def __init__(self, message: str, places: tuple[int, ...]) -> None:
        super().__init__(message)
        self.places = places


class Fatal(FusionError):
    """The process must stop.

    Attributes:
        exit_code: the process's exit status (CONTRACT section 6).
    """

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class ConfigError(Fatal):
    """Bad usage or configuration: one line naming the key and what it may be (exit 2)."""

    def __init__(self, message: str) -> None:
        super().__init__(message, exit_code=2)


class Unreachable(Fatal):
    """Kafka or Redis not reached within `startup_timeout` (exit 3)."""

    def __init__(self, message: str) -> None:
        super().__init__(message, exit_code=3)


class DeadLetterLimit(Fatal):
    """`[limits]` on dead letters was hit (exit 4)."""

    def __init__(self, message: str) -> None:
        super().__init__(message, exit_code=4)


class Poison(FusionError):
    """One record can never succeed; it becomes a dead letter and its neighbours go on.

    Attributes:
        stage: VALIDATE, ALIGN, DECODE, MODEL or PUBLISH (CONTRACT section 3).
        reason: a short word of a fixed list, fit for a metric label.
        stream: the stream whose body is at fault, where it is not the anchor's own.
        number: which of the events that were matched of that stream; None: all.
    """

    number: int | None = None

    def __init__(self, stage: str, reason: str, message: str, stream: str | None = None) -> None:
        super().__init__(message)
        self.stage = stage
        self.reason = reason
        self.stream = stream

    @property
    def exception(self) -> str:
        """The class that the dead letter names: of what was raised at first, where this only tells of it."""
        return type(self.__cause__ or self).__name__


def blamed(error: BaseException, stage: str, reason: str, stream: str | None = None, what: str | None = None) -> Poison:
    """What an exception that nobody foresaw, while one item was worked on, makes of that item.

    `what` says what went wrong with it. Memory that was not there is the item's too: a successor would read the same
    item and end the same way, a dead letter can be replayed, and the dead-letter limit stops a worker that has no
    memory for any.

    Raises:
        BaseException: `error` itself, where it is no item's: one of ours, which says who reacts, or a request to stop.
    """
    if isinstance(error, FusionError | KeyboardInterrupt | SystemExit | GeneratorExit):
        raise error
    at = "" if stream is None else f"stream {stream!r}: "
    if what is not None:
        at += f"{what}: "
    poison = Poison(stage, reason, f"{at}{type(error).__name__}: {str(error) or 'no more is said'}", stream)
    poison.__cause__ = error
    return poison
