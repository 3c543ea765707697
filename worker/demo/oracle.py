"""The demo's own check: CONTRACT section 5, `nearest`, by looking at every event; shares no code with the worker."""

from __future__ import annotations

from collections.abc import Iterable

# The rule that the demo's configuration writes down for its frames.
BEFORE_US = AFTER_US = 500_000

Moment = tuple[str, int]  # (id, microseconds since 1970)


def nearest(anchor_us: int, frames: Iterable[Moment]) -> Moment | None:
    """The frame nearest in time within bounds; of two as near the earlier, then the one of smaller id."""
    inside = [(abs(at - anchor_us), at, name) for name, at in frames if -BEFORE_US <= at - anchor_us <= AFTER_US]
    if not inside:
        return None
    _, at, name = min(inside)
    return name, at
